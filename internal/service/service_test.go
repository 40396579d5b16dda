package service

import (
	"slices"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/matrix"
)

func TestExcluded(t *testing.T) {
	t.Parallel()
	disks := []holdfast.DiskFact{{LUN: -1}, {LUN: 0}, {LUN: 1}, {LUN: 2}}
	for _, c := range []struct {
		e    *Exclusion
		want []int
	}{
		{nil, nil}, {&Exclusion{LUNs: []int{1}}, []int{1}}, {&Exclusion{LUNs: []int{1}, Include: true}, []int{0, 2}},
		{&Exclusion{Include: true}, []int{0, 1, 2}}, // the OS disk only
		{&Exclusion{}, nil},
	} {
		if got := c.e.Excluded(disks); !slices.Equal(got, c.want) {
			t.Errorf("%+v leaves out %v, want %v", c.e, got, c.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	matrix.Covers(t, "FRQ-02")
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC) // a leap day
	for at, want := range map[time.Time]bool{
		now: false, now.Add(time.Second): true, now.AddDate(99, 0, 0): true, now.AddDate(99, 0, 2): false, now.AddDate(100, 0, 0): false, now.AddDate(-1, 0, 0): false,
	} {
		if err := checkExpiry("expires", at, now); (err == nil) != want {
			t.Errorf("a point that goes %v: %v", at, err)
		}
	}
}
