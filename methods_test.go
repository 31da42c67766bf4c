package postrider_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// maxMethods and maxInterface are how many methods a type and an interface may have.
const (
	maxMethods   = 25
	maxInterface = 3
)

// TestMethods keeps types and interfaces small.
func TestMethods(t *testing.T) {
	t.Parallel()
	methods := map[string]int{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.FuncDecl:
				if x.Recv != nil {
					methods[filepath.Dir(file)+"."+receiver(x.Recv.List[0].Type)]++
				}
			case *ast.TypeSpec:
				if i, ok := x.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxInterface {
					t.Errorf("%s: interface %s has %d methods, at most %d are allowed", file, x.Name, i.Methods.NumFields(), maxInterface)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range methods {
		if n > maxMethods {
			t.Errorf("%s has %d methods, at most %d are allowed", name, n, maxMethods)
		}
	}
}

// receiver is the name of a receiver's type.
func receiver(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}
