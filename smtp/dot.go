package smtp

import "bytes"

// dotWriter turns a message into what stands between DATA and the final dot
// (RFC 5321 section 4.5.2). It collects in buf and hands over full blocks.
//
// A bare CR or LF becomes CRLF: the relay must find no line end that we did not
// see, or what follows could be taken for a message of its own.
type dotWriter struct {
	buf   []byte
	flush func([]byte) error
	// inLine: the last byte written was no line end.
	inLine bool
	// afterCR: a CR was written as CRLF; an LF that follows belongs to it.
	afterCR bool
	// n is the number of bytes taken.
	n int64
}

// blockSize is how much of a body goes out in one write. A message that is
// smaller goes out in one together with its final dot.
const blockSize = 64 << 10

// Write never splits what a flush hands over in the middle of a CRLF.
func (d *dotWriter) Write(p []byte) (int, error) {
	size := len(p)
	d.n += int64(size)
	cr, lf := -1, -1
	for at := 0; at < size; {
		if d.afterCR {
			d.afterCR = false
			if p[at] == '\n' {
				at++
				continue
			}
		}
		// Each is looked for again only once it is behind: a body of nothing
		// but one of them costs no more than any other.
		if cr < at {
			cr = next(p, at, '\r')
		}
		if lf < at {
			lf = next(p, at, '\n')
		}
		if !d.inLine && p[at] == '.' {
			d.buf = append(d.buf, '.')
		}
		end := min(cr, lf, at+blockSize)
		d.buf = append(d.buf, p[at:end]...)
		d.inLine = end == at+blockSize || end == size
		if !d.inLine {
			d.buf = append(d.buf, "\r\n"...)
			d.afterCR = end == cr
			end++
		}
		at = end
		if len(d.buf) >= blockSize {
			if err := d.flush(d.buf); err != nil {
				return at, err
			}
			d.buf = d.buf[:0]
		}
	}
	return size, nil
}

// end adds what closes the message, final dot included, to what is left.
func (d *dotWriter) end() []byte {
	if d.inLine {
		d.buf = append(d.buf, "\r\n"...)
	}
	return append(d.buf, ".\r\n"...)
}

// next is the place of the next c from at on, or the end of p.
func next(p []byte, at int, c byte) int {
	if i := bytes.IndexByte(p[at:], c); i >= 0 {
		return at + i
	}
	return len(p)
}
