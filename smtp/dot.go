package smtp

import "bytes"

// dotWriter turns a message into what is sent between DATA and the final dot
// (RFC 5321 section 4.5.2). It collects in buf and flushes full blocks.
//
// A bare CR or LF becomes CRLF: if the relay found a line end that we did not
// see, it could take what follows for a message of its own (SMTP smuggling).
type dotWriter struct {
	buf   []byte
	flush func([]byte) error
	// inLine: the last byte written did not end a line.
	inLine bool
	// afterCR: a CR was written as CRLF; an LF that follows is part of it.
	afterCR bool
	// n is the number of bytes written to it.
	n int64
}

// blockSize is how much of a body is sent in one write. A smaller message is
// sent in one write together with its final dot.
const blockSize = 64 << 10

// Write never flushes half of a CRLF.
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
		// Each is searched for again only after it has been passed, so that a body
		// of nothing but one of them costs no more than any other.
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

// end returns what is left, with what closes the message: the final dot included.
func (d *dotWriter) end() []byte {
	if d.inLine {
		d.buf = append(d.buf, "\r\n"...)
	}
	return append(d.buf, ".\r\n"...)
}

// next is the index of the next c from at on, or the end of p.
func next(p []byte, at int, c byte) int {
	if i := bytes.IndexByte(p[at:], c); i >= 0 {
		return at + i
	}
	return len(p)
}
