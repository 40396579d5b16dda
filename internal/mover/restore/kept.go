package restore

import (
	"encoding/json"
	"fmt"

	"github.com/beevik/etree"

	"holdfast/internal/mover"
)

// leftBehind are the kept members (mover.Kept) that a new VM doesn't have,
// however the original had them, with what its owner is told of each.
var leftBehind = []struct {
	members []string // of properties
	note    string
}{
	{[]string{"priority", "evictionPolicy", "billingProfile"}, "The original was a spot VM; the restored one is a regular VM (CMP-12)."},
	{[]string{"host", "hostGroup"}, "The original was on a dedicated host; the restored VM is not. For that, restore the disks and deploy their template (CMP-13)."},
	{[]string{"availabilitySet"}, "The original was in an availability set; the restored VM is not. For that, restore the disks and deploy their template (CMP-02)."},
	{[]string{"virtualMachineScaleSet"}, "The original was one of a scale set; the restored VM stands alone (CMP-15)."},
}

// leaveBehind takes those members from a definition and says which it took; with sets
// also the disk encryption sets that the disks name.
func leaveBehind(dom *etree.Element, sets bool) (notes []string, err error) {
	for _, e := range dom.FindElements("metadata/*") {
		if e.Tag != "kept" || e.NamespaceURI() != mover.KeptSpace {
			continue
		}
		var kept map[string]any
		if json.Unmarshal([]byte(e.Text()), &kept) != nil {
			continue // not ours to judge: it comes back as it was
		}
		if sets && leaveSets(kept) {
			notes = append(notes, "The original's disks name a disk encryption set of another site; the restored ones name none, and their points are under the platform's key (RPL-05).")
		}
		properties, _ := kept["properties"].(map[string]any)
		for _, l := range leftBehind {
			had := false
			for _, m := range l.members {
				had = had || properties[m] != nil && properties[m] != "Regular"
				delete(properties, m)
			}
			if had {
				notes = append(notes, l.note)
			}
		}
		text, err := json.Marshal(kept)
		if err != nil {
			return nil, fmt.Errorf("kept members of the point: %w", err)
		}
		e.SetText(string(text))
	}
	return notes, nil
}

// leaveSets takes the disk encryption sets from what is kept of disks, and says
// whether there was one.
func leaveSets(kept map[string]any) (had bool) {
	disks, _ := kept["disks"].(map[string]any)
	for _, d := range disks {
		disk, _ := d.(map[string]any)
		managed, _ := disk["managedDisk"].(map[string]any)
		had = had || managed["diskEncryptionSet"] != nil
		delete(managed, "diskEncryptionSet")
	}
	return had
}
