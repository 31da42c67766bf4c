package postrider_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
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
