package memgpt

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestEverythingExportedIsDocumented checks that godoc shows a comment for every exported name, beginning with the name.
func TestEverythingExportedIsDocumented(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	documented, err := doc.NewFromFiles(set, files, "memgpt")
	if err != nil {
		t.Fatal(err)
	}
	check := func(name, text string) {
		if !strings.HasPrefix(text, name+" ") {
			t.Errorf("%s: its comment must begin with the name, not %q", name, text)
		}
	}
	if !strings.HasPrefix(documented.Doc, "Package memgpt ") {
		t.Errorf("the package's comment begins with %.40q", documented.Doc)
	}
	for _, function := range documented.Funcs {
		check(function.Name, function.Doc)
	}
	for _, each := range documented.Types {
		check(each.Name, each.Doc)
		for _, function := range append(each.Funcs, each.Methods...) {
			check(function.Name, function.Doc)
		}
	}
	for _, value := range append(documented.Consts, documented.Vars...) {
		for _, each := range value.Decl.Specs {
			spec := each.(*ast.ValueSpec)
			for _, name := range spec.Names {
				if name.IsExported() && value.Doc == "" && spec.Doc.Text() == "" {
					t.Errorf("%s: without a comment", name)
				}
			}
		}
	}
}
