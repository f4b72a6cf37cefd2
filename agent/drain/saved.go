package drain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/penstock-lb/penstock/agent/replace"
)

// Saved is what the next agent has to know of a drain.
type Saved struct {
	Command   *Order `json:"command,omitempty"` // nil: no command asks for one
	Withdrawn bool   `json:"withdrawn"`         // no router has a route of ours
}

// Order is a drain by command.
type Order struct {
	Why     string    `json:"why,omitempty"`
	Since   time.Time `json:"since"`
	Timeout float64   `json:"timeoutSeconds"`
}

// Ask is what it asks for.
func (o Order) Ask() Ask {
	return Ask{By: Command, Why: o.Why, Since: o.Since, Timeout: time.Duration(o.Timeout * float64(time.Second))}
}

// Load reads what was saved; the zero value where nothing was. A file that cannot be read
// is a drain by command: somebody may have asked for one, and a node that announces nothing
// harms less than one under maintenance that does.
func Load(name string) (Saved, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Saved{}, nil
	}
	var s Saved
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		err = fmt.Errorf("read the drain in %s: %w; the node drains until 'penstock undrain'", name, err)
		return Saved{Command: &Order{Why: "its file cannot be read"}, Withdrawn: true}, err
	}
	return s, nil
}

// Save makes it outlast the agent. The zero value leaves no file.
func (s Saved) Save(name string) error {
	if s == (Saved{}) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget the drain: %w; remove the file, or the next agent drains again", err)
		}
		return nil
	}
	err := replace.File(name, func(w io.Writer) error { return json.NewEncoder(w).Encode(s) })
	if err != nil {
		return fmt.Errorf("remember the drain in %s: %w; make its directory writable, or move source.history", name, err)
	}
	return nil
}
