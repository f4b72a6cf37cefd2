// Package replace writes files such that there is always a whole one.
package replace

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// File replaces a file, or makes it, with what write writes, readable by its owner alone.
// Where that fails the old one stays. It is not synced to the disk: it is for what is of no
// use once the machine is lost. Only one at a time may replace the same file.
func File(name string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Of one name, so that those that a crash leaves do not add up.
	tmp := filepath.Join(dir, "."+filepath.Base(name)+".new")
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(f)
	if err := errors.Join(write(buffered), buffered.Flush(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
