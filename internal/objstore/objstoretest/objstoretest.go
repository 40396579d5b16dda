// Package objstoretest is the conformance suite of the contract objstore.Store:
// the checks of package check, each as a test. For tests only.
package objstoretest

import (
	"testing"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/check"
)

// Run runs every check on a store of its own, which open returns empty. The
// checks of retention are for stores that have it; that the others refuse it is
// a check too. The checks run in parallel with each other if t is parallel.
func Run(t *testing.T, open func(t *testing.T) objstore.Store) {
	retention := open(t).Features().Retention
	for _, c := range check.All() {
		if c.Retention && !retention {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if s.Features().Retention != retention {
				t.Fatal("one store has retention, another of its kind hasn't")
			}
			if err := c.Run(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", c.Says, err)
			}
			for info, err := range s.List(t.Context(), "", "") {
				t.Fatalf("the check left %q, %v", info.Name, err)
			}
		})
	}
}
