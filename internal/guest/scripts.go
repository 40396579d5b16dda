package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// ScriptConfig is where a Linux guest says which scripts make its applications
// stand still. Path and members are those of Azure's VM snapshot script plugin
// (learn.microsoft.com/azure/backup/backup-azure-linux-app-consistent), so that
// machines that are set up for it need no change.
const ScriptConfig = "/etc/azure/VMSnapshotScriptPluginConfig.json"

// ErrNoScripts: the guest has no script configuration.
var ErrNoScripts = errors.New("the guest has no " + ScriptConfig)

// ErrScriptAccess: somebody other than root could change what root would run.
var ErrScriptAccess = errors.New("unsafe permissions")

// Scripts is the configuration, checked.
type Scripts struct {
	Pre, Post           Command
	PreTries, PostTries int
	Timeout             time.Duration // of each try
	// ContinueOnFailure takes the backup, less consistent, when a script fails.
	ContinueOnFailure bool
	// Freeze says whether file systems are frozen between the scripts too.
	Freeze bool
}

// Limits of a configuration.
const (
	maxScriptConfig  = 64 << 10
	maxScriptTries   = 10
	maxScriptTimeout = 30 * time.Minute
	defaultTimeout   = 30 * time.Second
)

// Scripts reads the guest's script configuration and checks that only root can
// change it and the scripts. ErrNoScripts, ErrScriptAccess, or what is wrong.
func (a Agent) Scripts(ctx context.Context) (Scripts, error) {
	r, err := a.Run(ctx, Command{Path: "/bin/sh", Args: []string{"-c",
		"test -e " + ScriptConfig + " || exit 44; exec cat " + ScriptConfig}}, agentTimeout)
	switch {
	case err != nil:
		return Scripts{}, err
	case r.Code == 44:
		return Scripts{}, ErrNoScripts
	case r.Code != 0:
		return Scripts{}, fmt.Errorf("%s: %s", ScriptConfig, strings.TrimSpace(string(r.Stderr)))
	}
	s, err := parseScripts(r.Stdout)
	if err != nil {
		return Scripts{}, fmt.Errorf("%s: %w", ScriptConfig, err)
	}
	for file, mode := range map[string]uint64{ScriptConfig: 0o600, s.Pre.Path: 0o700, s.Post.Path: 0o700} {
		if file == "" {
			continue
		}
		if err := a.rootOnly(ctx, file, mode); err != nil {
			return Scripts{}, err
		}
	}
	return s, nil
}

// parseScripts reads a configuration.
func parseScripts(raw []byte) (Scripts, error) {
	if len(raw) > maxScriptConfig {
		return Scripts{}, fmt.Errorf("it has %d bytes, at most %d are read", len(raw), maxScriptConfig)
	}
	c := struct {
		Plugin    string   `json:"pluginName"`
		Pre       string   `json:"preScriptLocation"`
		Post      string   `json:"postScriptLocation"`
		PreArgs   []string `json:"preScriptParams"`
		PostArgs  []string `json:"postScriptParams"`
		PreTries  int      `json:"preScriptNoOfRetries"`
		PostTries int      `json:"postScriptNoOfRetries"`
		Timeout   int      `json:"timeoutInSeconds"`
		Continue  bool     `json:"continueBackupOnFailure"`
		Freeze    *bool    `json:"fsFreezeEnabled"`
	}{}
	if err := json.Unmarshal(raw, &c); err != nil {
		return Scripts{}, err
	}
	s := Scripts{
		Pre: Command{Path: c.Pre, Args: c.PreArgs}, Post: Command{Path: c.Post, Args: c.PostArgs},
		PreTries: 1 + c.PreTries, PostTries: 1 + c.PostTries,
		Timeout: time.Duration(c.Timeout) * time.Second, ContinueOnFailure: c.Continue,
		Freeze: c.Freeze == nil || *c.Freeze,
	}
	if s.Timeout == 0 {
		s.Timeout = defaultTimeout
	}
	for name, p := range map[string]string{"preScriptLocation": c.Pre, "postScriptLocation": c.Post} {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return Scripts{}, fmt.Errorf("%s: %q is not a clean absolute path", name, p)
		}
	}
	for name, n := range map[string]int{"preScriptNoOfRetries": c.PreTries, "postScriptNoOfRetries": c.PostTries} {
		if n < 0 || n > maxScriptTries {
			return Scripts{}, fmt.Errorf("%s: %d is not between 0 and %d", name, n, maxScriptTries)
		}
	}
	if c.Timeout < 0 || s.Timeout > maxScriptTimeout {
		return Scripts{}, fmt.Errorf("timeoutInSeconds: %d is not between 1 and %d", c.Timeout, int(maxScriptTimeout.Seconds()))
	}
	return s, nil
}

// rootOnly checks that a file of the guest is root's, a regular file, and has
// no permission beyond mode.
func (a Agent) rootOnly(ctx context.Context, file string, mode uint64) error {
	r, err := a.Run(ctx, Command{Path: "/usr/bin/stat", Args: []string{"-c", "%u %a %F", "--", file}}, agentTimeout)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("%s: %s", file, strings.TrimSpace(string(r.Stderr)))
	}
	owner, rest, _ := strings.Cut(strings.TrimSpace(string(r.Stdout)), " ")
	perm, kind, _ := strings.Cut(rest, " ")
	bits, err := strconv.ParseUint(perm, 8, 32)
	switch {
	case err != nil:
		return fmt.Errorf("%s: stat said %q", file, r.Stdout)
	case owner != "0":
		return fmt.Errorf("%w: %s belongs to user %s, not to root", ErrScriptAccess, file, owner)
	case !strings.HasPrefix(kind, "regular"):
		return fmt.Errorf("%w: %s is a %s", ErrScriptAccess, file, kind)
	case bits&^mode != 0:
		return fmt.Errorf("%w: %s has mode %04o, at most %04o is allowed", ErrScriptAccess, file, bits, mode)
	}
	return nil
}

// Script runs one of the scripts, as often as it may be tried, and gives its
// last output. It fails unless a try ends with code 0.
func (a Agent) Script(ctx context.Context, c Command, tries int, timeout time.Duration) (string, error) {
	var output string
	var err error
	for range tries {
		var r Result
		if r, err = a.Run(ctx, c, timeout); err != nil {
			continue
		}
		output = strings.TrimSpace(string(r.Stdout) + string(r.Stderr))
		if r.Code == 0 {
			return output, nil
		}
		err = fmt.Errorf("%s ended with code %d: %s", c.Path, r.Code, output)
	}
	return output, err
}
