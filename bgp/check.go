package bgp

// Check returns what [Speaker.Sync] would refuse about the attributes.
func (a Attributes) Check() error { return a.check() }
