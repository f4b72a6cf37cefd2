package bpf

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fresh is what one load has made below the pins, for an agent whose start fails: what was there
// before forwards on, and what was not must not stay behind.
type fresh struct {
	root string   // the directory of the pins, if it was not there
	dirs []string // of groups of maps
}

func (f fresh) remove() error {
	var errs []error
	for _, dir := range f.dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	if f.root != "" {
		if err := os.Remove(f.root); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
