package embedded

// Healthy reports what keeps the server from storing mail.
func (e *Server) Healthy() error { return e.health(e.look(), false) }
