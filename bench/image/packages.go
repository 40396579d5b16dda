package image

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// extras are the small packages that come on one day and go on a later one.
var extras = []string{"htop", "tmux", "jq", "tree", "strace", "nmap", "zsh", "mc", "screen", "sysstat",
	"tcpdump", "pv", "ripgrep", "ncdu"}

// Packages change every other day: one comes, one that came extraStay days
// before goes, and every upgradeEvery days some updates are taken in.
const (
	packageEvery = 2
	extraStay    = 4
	upgradeEvery = 4
)

// upgradeKiB bounds what one round of updates takes in, in installed KiB on a
// disk of 16 GiB.
const upgradeKiB = 40 << 10

// packages does what an administrator does on day n.
func (c *Chain) packages(ctx context.Context, root string, n int, rng *rand.Rand) error {
	if n%packageEvery != 0 {
		return nil
	}
	script := "apt-get -qq -y --no-install-recommends install " + extras[n%len(extras)] + "\n"
	if n > extraStay {
		script += "apt-get -qq -y --autoremove purge " + extras[(n-extraStay)%len(extras)] + "\n"
	}
	if n%upgradeEvery == 0 {
		upgrades, err := c.chooseUpgrades(ctx, root, rng)
		if err != nil {
			return err
		}
		script += "apt-get -qq -y --no-install-recommends install --only-upgrade " + strings.Join(upgrades, " ") + "\n"
	}
	_, err := inside(ctx, root, script)
	return err
}

// chooseUpgrades picks packages with updates. A package draws others in with
// it, so half of the choice is given up until all of it is within the bound.
func (c *Chain) chooseUpgrades(ctx context.Context, root string, rng *rand.Rand) ([]string, error) {
	out, err := inside(ctx, root, "apt-get -s dist-upgrade | awk '/^Inst/ && $3 ~ /^\\[/ {print $2}'")
	if err != nil {
		return nil, err
	}
	list := strings.Fields(out)
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for list = list[:min(len(list), 16)]; len(list) > 0; list = list[:len(list)/2] {
		kib, err := upgradeSize(ctx, root, list)
		if err != nil || kib <= c.Spec.share(upgradeKiB) {
			return list, err
		}
	}
	return nil, nil
}

// upgradeSize is the installed size in KiB of everything that upgrading the
// packages replaces.
func upgradeSize(ctx context.Context, root string, list []string) (int64, error) {
	out, err := inside(ctx, root, `apt-get -s install --only-upgrade `+strings.Join(list, " ")+
		` | awk '/^Inst/ && $3 ~ /^\[/ {print $2}' | xargs -r dpkg-query -W -f '${Installed-Size}\n'`)
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for line := range strings.FieldsSeq(out) {
		kib, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("installed size %q: %w", line, err)
		}
		sum += kib
	}
	return sum, nil
}
