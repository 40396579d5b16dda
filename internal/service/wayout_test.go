package service

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestRefusalsHaveAWayOut: what the rules of restores refuse though it was asked for
// well comes with what to do instead.
func TestRefusalsHaveAWayOut(t *testing.T) {
	t.Parallel()
	n := 0
	for _, name := range []string{"restore.go", "replace.go", "newvm.go", "place.go", "verify.go", "instant.go", "diskfill.go", "vmofpoint.go", "convert.go"} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		hinted := map[ast.Node]bool{}
		ast.Inspect(file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "WithHint" {
				hinted[s.X] = true // met before what it stands behind
			}
			if isRefusal(call) {
				if n++; !hinted[call] {
					t.Errorf("%s: this refusal does not say what to do instead", set.Position(call.Pos()))
				}
			}
			return true
		})
	}
	if n < 20 {
		t.Errorf("only %d refusals were found", n)
	}
}

// isRefusal knows holdfast.Errorf of a kind that is not the request's own fault.
func isRefusal(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Errorf" || len(call.Args) == 0 {
		return false
	}
	kind, ok := call.Args[0].(*ast.SelectorExpr)
	return ok && (kind.Sel.Name == "Unsupported" || kind.Sel.Name == "Conflict")
}
