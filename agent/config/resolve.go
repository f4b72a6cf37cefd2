package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxPassword is TCP_MD5SIG_MAXKEYLEN of the kernel, in bytes.
const maxPassword = 80

// maxSecretFile is far above any secret, in bytes.
const maxSecretFile = 4096

// resolve fills in what other files and the system know: the name of the node,
// the seed and the passwords.
func (c *Config) resolve() (found faults) {
	if c.Node == "" {
		name, err := os.Hostname()
		if err != nil {
			found.add("node", "", "the host name is not known: %w; set the key", err)
		}
		c.Node = name
	}
	if file := c.Datapath.SeedFile; file != "" {
		seed, err := readSecret(file)
		switch {
		case err != nil:
			found.add("datapath.seedFile", file, "%w", err)
		case c.Datapath.Seed != "":
			found.add("datapath.seedFile", file, "datapath.seed is set too; keep one of them")
		}
		c.Datapath.Seed = seed
	}
	for i := range c.BGP.Peers {
		p := &c.BGP.Peers[i]
		if p.PasswordFile == "" {
			continue
		}
		password, err := readSecret(p.PasswordFile)
		if err == nil && len(password) > maxPassword {
			err = fmt.Errorf("the password is %d bytes long; TCP MD5 takes at most %d", len(password), maxPassword)
		}
		if err != nil {
			found.add(peerKey(i, "passwordFile"), p.PasswordFile, "%w", err)
		}
		p.Password = password
	}
	return found
}

// readSecret gives a file's content without the line break at its end.
func readSecret(file string) (Secret, error) {
	info, err := os.Stat(file)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxSecretFile) {
		return "", fmt.Errorf("not a regular file of at most %d bytes; write the secret alone to one", maxSecretFile)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%w; create the file and let the agent read it", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case text == "":
		return "", errors.New("the file is empty; write the secret to it, or remove the key")
	case strings.ContainsAny(text, "\n\x00"):
		return "", errors.New("the file has more than one line; write the secret alone")
	}
	return Secret(text), nil
}
