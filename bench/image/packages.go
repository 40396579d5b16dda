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

// A package that came on day n goes on day n+extraStay.
const extraStay = 4

// upgradeKiB bounds what one day upgrades, in installed KiB on a disk of
// 16 GiB.
const upgradeKiB = 70 << 10

// packages does what an administrator does of a day: one package comes, one
// goes, and some updates are taken in.
func (c *Chain) packages(ctx context.Context, root string, n int, rng *rand.Rand) error {
	script := "apt-get -qq -y --no-install-recommends install " + extras[(n-1)%len(extras)] + "\n"
	if n > extraStay {
		script += "apt-get -qq -y --autoremove purge " + extras[(n-1-extraStay)%len(extras)] + "\n"
	}
	upgrades, err := c.chooseUpgrades(ctx, root, rng)
	if err != nil {
		return err
	}
	if len(upgrades) > 0 {
		script += "apt-get -qq -y --no-install-recommends install --only-upgrade " + strings.Join(upgrades, " ") + "\n"
	}
	_, err = inside(ctx, root, script)
	return err
}

// chooseUpgrades picks packages with updates until the day's bound is near.
// What a package draws in with it counts.
func (c *Chain) chooseUpgrades(ctx context.Context, root string, rng *rand.Rand) ([]string, error) {
	out, err := inside(ctx, root, "apt-get -s dist-upgrade | awk '/^Inst/ {print $2}'")
	if err != nil {
		return nil, err
	}
	candidates := strings.Fields(out)
	rng.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	var chosen []string
	left := c.Spec.share(upgradeKiB)
	for _, name := range candidates[:min(12, len(candidates))] {
		out, err := inside(ctx, root, fmt.Sprintf(
			`dpkg-query -W -f '${Installed-Size}\n' $(apt-get -s install --only-upgrade %s | awk '/^Inst/ {print $2}')`, name))
		if err != nil {
			return nil, err
		}
		cost := int64(0)
		for line := range strings.FieldsSeq(out) {
			kib, err := strconv.ParseInt(line, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("installed size of %s: %w", name, err)
			}
			cost += kib
		}
		if cost <= left {
			left -= cost
			chosen = append(chosen, name)
		}
	}
	return chosen, nil
}
