package system

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/replace"
)

// AcceptLocal turns net.ipv4.conf.DEVICE.accept_local on, and off again where it was off before.
// For whom that is so is in File, a device a line, over restarts: like the settings
// it is to be gone after a reboot. Only one at a time may use a file.
type AcceptLocal struct{ File string }

func (a AcceptLocal) of(device string) string { return "net/ipv4/conf/" + device + "/accept_local" }

// Set turns it on for a device. The file comes first: a device that is in it for nothing is
// turned off that is off.
func (a AcceptLocal) Set(device string) error {
	if now, err := (Kernel{}).Sysctl(a.of(device)); err != nil || now == "1" {
		return err
	}
	devices, err := a.changed()
	if err != nil {
		return err
	}
	if !slices.Contains(devices, device) {
		if err := a.remember(append(devices, device)); err != nil {
			return err
		}
	}
	return setAcceptLocal(device, "1")
}

// Reset turns it off for those of the devices that Set has turned it on for, or for all of them
// where none is named. A device that is not there any more is forgotten.
func (a AcceptLocal) Reset(devices ...string) error {
	all, err := a.changed()
	if err != nil || len(all) == 0 {
		return err
	}
	var errs []error
	rest := slices.DeleteFunc(slices.Clone(all), func(device string) bool {
		if len(devices) > 0 && !slices.Contains(devices, device) {
			return false
		}
		if _, err := (Kernel{}).Sysctl(a.of(device)); errors.Is(err, fs.ErrNotExist) {
			return true
		}
		err := setAcceptLocal(device, "0")
		errs = append(errs, err)
		return err == nil
	})
	if len(rest) < len(all) {
		errs = append(errs, a.remember(rest))
	}
	return errors.Join(errs...)
}

func (a AcceptLocal) changed() ([]string, error) {
	b, err := os.ReadFile(a.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("devices whose accept_local was turned on: %w", err)
	}
	return strings.Fields(string(b)), nil
}

func (a AcceptLocal) remember(devices []string) error {
	var err error
	if len(devices) == 0 {
		err = os.Remove(a.File)
	} else {
		err = replace.File(a.File, func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Join(devices, "\n")+"\n")
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("remember whose accept_local was turned on: %w", err)
	}
	return nil
}
