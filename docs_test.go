package postrider_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	// link is an inline link or image, or the target of a reference.
	link    = regexp.MustCompile(`\]\(\s*<?([^)>\s]+)[^)]*\)|^\[[^\]]+\]:\s+<?(\S+?)>?\s*$`)
	code    = regexp.MustCompile("``.*?``|`[^`]*`")
	heading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
)

// TestLinks: every relative link in a page points to a file that exists, and to
// a heading that exists if it names one.
func TestLinks(t *testing.T) {
	t.Parallel()
	links := 0
	for _, page := range pages(t) {
		for _, line := range prose(t, page) {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				target := m[1] + m[2]
				u, err := url.Parse(target)
				if err != nil {
					t.Errorf("%s: link %s: %v", page, target, err)
					continue
				}
				if u.Scheme != "" || u.Host != "" {
					continue
				}
				links++
				checkLink(t, page, u)
			}
		}
	}
	if links < 20 {
		t.Errorf("found %d relative links: the test reads none of the pages", links)
	}
}

func checkLink(t *testing.T, page string, u *url.URL) {
	t.Helper()
	file := page
	if u.Path != "" {
		file = filepath.Join(filepath.Dir(page), filepath.FromSlash(u.Path))
	}
	if !filepath.IsLocal(file) {
		t.Errorf("%s: link %s points outside the repository", page, u)
		return
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("%s: link %s: %v", page, u, err)
		return
	}
	if u.Fragment == "" {
		return
	}
	for _, line := range prose(t, file) {
		if m := heading.FindStringSubmatch(line); m != nil && anchor(m[1]) == u.Fragment {
			return
		}
	}
	t.Errorf("%s: link %s: %s has no such heading", page, u, file)
}

// pages are the Markdown files of the module.
func pages(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (d.Name() == "node_modules" || d.Name()[0] == '.'):
			return filepath.SkipDir
		case strings.HasSuffix(file, ".md"):
			all = append(all, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// prose is the lines of a page outside its blocks of code.
func prose(t *testing.T, page string) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	fenced := false
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			lines = append(lines, line)
		}
	}
	return lines
}

// anchor is what GitHub makes of a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

var (
	testName  = regexp.MustCompile("`((?:Test|Fuzz|Example)[A-Z]\\w*)`")
	inPackage = regexp.MustCompile("in `\\./([\\w/]+)`")
	runTests  = regexp.MustCompile(`go test .*-run '?([\w|]+)'? (.+)$`)
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)
)

// TestNamesOfTests: the tests that a page names exist, in the package that it
// names, and the commands that it prints run them.
func TestNamesOfTests(t *testing.T) {
	t.Parallel()
	packages := testPackages(t)
	named := 0
	for _, page := range pages(t) {
		for _, line := range prose(t, page) {
			said := inPackage.FindAllStringSubmatch(line, -1)
			for _, m := range testName.FindAllStringSubmatch(line, -1) {
				named++
				if !anyOf(packages, said, m[1]) {
					t.Errorf("%s: there is no %s where the page says it is", page, m[1])
				}
			}
			if m := runTests.FindStringSubmatch(line); m != nil {
				checkRun(t, page, packages, m[1], strings.Fields(m[2]))
			}
		}
	}
	if named < 50 {
		t.Errorf("found %d names of tests: the test reads none of the pages", named)
	}
}

// testPackages are the names of the tests by the directory that holds them.
func testPackages(t *testing.T) map[string][]string {
	t.Helper()
	packages := map[string][]string{}
	err := filepath.WalkDir(".", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		b, err := os.ReadFile(file)
		for _, m := range testFunc.FindAllStringSubmatch(string(b), -1) {
			dir := filepath.ToSlash(filepath.Dir(file))
			packages[dir] = append(packages[dir], m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// anyOf reports that one of the packages said, or any if none is, has the test.
func anyOf(packages map[string][]string, said [][]string, test string) bool {
	for dir, tests := range packages {
		here := len(said) == 0 || slices.ContainsFunc(said, func(m []string) bool { return m[1] == dir })
		if here && slices.Contains(tests, test) {
			return true
		}
	}
	return false
}

// checkRun holds that each alternative of -run matches a test of one of those
// packages, and each package has one that matches.
func checkRun(t *testing.T, page string, packages map[string][]string, pattern string, patterns []string) {
	t.Helper()
	used := map[string]bool{}
	for alternative := range strings.SplitSeq(pattern, "|") {
		found := false
		for dir, tests := range packages {
			for _, p := range patterns {
				below, all := strings.CutSuffix(strings.TrimPrefix(p, "./"), "/...")
				if dir != below && (!all || !strings.HasPrefix(dir, below+"/")) {
					continue
				}
				if slices.ContainsFunc(tests, func(name string) bool { return strings.Contains(name, alternative) }) {
					found, used[p] = true, true
				}
			}
		}
		if !found {
			t.Errorf("%s: -run %s matches no test of %v", page, alternative, patterns)
		}
	}
	for _, p := range patterns {
		if !used[p] {
			t.Errorf("%s: none of the tests of -run '%s' is in %s", page, pattern, p)
		}
	}
}
