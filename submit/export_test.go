package submit

import "github.com/postrider/postrider/wire"

// Company is how many mails of the lane are on their way and wait for others.
func (c *Client) Company(lane wire.Lane) (away, waiting int) {
	with := c.company(lane.SendSubject())
	with.mu.Lock()
	defer with.mu.Unlock()
	return with.away, len(with.waiting)
}
