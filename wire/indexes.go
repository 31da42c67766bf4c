package wire

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Indexes is a set of recipients. It is written as ascending ranges in a
// string, "0-41,43", so that a thousand recipients take a few bytes.
type Indexes []int

// maxIndex bounds a range, so that "0-999999999" cannot fill the memory.
const maxIndex = 1 << 16

// MarshalText writes the ranges.
func (x Indexes) MarshalText() ([]byte, error) {
	s := slices.Sorted(slices.Values(x))
	s = slices.Compact(s)
	var b []byte
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(s[i]), 10)
		if j > i {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(s[j]), 10)
		}
		i = j + 1
	}
	return b, nil
}

// UnmarshalText reads the ranges.
func (x *Indexes) UnmarshalText(b []byte) error {
	*x = nil
	if len(b) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(b), ",") {
		first, last, isRange := strings.Cut(part, "-")
		lo, err := strconv.Atoi(first)
		hi := lo
		if err == nil && isRange {
			hi, err = strconv.Atoi(last)
		}
		if err != nil || lo < 0 || hi < lo || hi >= maxIndex || len(*x)+hi-lo >= maxIndex {
			return errors.New("recipients are ranges of indexes like \"0-41,43\"")
		}
		for i := lo; i <= hi; i++ {
			*x = append(*x, i)
		}
	}
	return nil
}
