package backup

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"holdfast"
)

// beyond refuses members of a protected item that ask for what there is not: the
// SDK's model drops them, and who asked would believe that it is done.
//
// Only disks can be left out of a backup (LNX-04), and each VM is backed up at
// its own moment (CMP-07).
func beyond(body []byte) error {
	var r struct {
		Properties struct {
			Holdfast           map[string]json.RawMessage `json:"holdfast"`
			ExtendedProperties map[string]json.RawMessage `json:"extendedProperties"`
		} `json:"properties"`
	}
	if err := decode(body, &r); err != nil {
		return err
	}
	const extended = "properties.extendedProperties"
	for _, member := range slices.Sorted(maps.Keys(r.Properties.ExtendedProperties)) {
		if member != "diskExclusionProperties" && member != "linuxVmApplicationName" {
			return onlyDisks(extended + "." + member)
		}
	}
	var disks map[string]json.RawMessage
	if of := r.Properties.ExtendedProperties["diskExclusionProperties"]; len(of) > 0 && json.Unmarshal(of, &disks) != nil {
		return nil // the model says what is wrong with it
	}
	for _, member := range slices.Sorted(maps.Keys(disks)) {
		if member != "diskLunList" && member != "isInclusionList" {
			return onlyDisks(extended + ".diskExclusionProperties." + member)
		}
	}
	if ours := slices.Sorted(maps.Keys(r.Properties.Holdfast)); len(ours) > 0 {
		return noMember(ours[0])
	}
	return nil
}

// noMember refuses a member of Holdfast's own: a protected item has none.
func noMember(member string) error {
	target := "properties.holdfast." + member
	switch lower := strings.ToLower(member); {
	case strings.Contains(lower, "group"):
		return holdfast.Errorf(holdfast.Unsupported, target, "%s asks for a point of several VMs at one moment, which there is not: each VM is backed up at its own (CMP-07).", target).
			WithHint("Stop or quiesce the application on all of its VMs while their backups take the snapshots, or keep what belongs together in one VM.")
	case strings.Contains(lower, "exclu"):
		return onlyDisks(target)
	}
	return holdfast.Errorf(holdfast.Invalid, target, "%s is not known: a protected item has no such member.", target)
}

// onlyDisks refuses to leave anything but disks out.
func onlyDisks(target string) error {
	return holdfast.Errorf(holdfast.Unsupported, target, "%s cannot be obeyed: a disk is backed up whole, with everything that the guest has mounted from it, and only whole data disks can be left out (LNX-04).", target).
		WithHint("Move what shall not be backed up, such as Docker's directory, to a data disk of its own, and leave that out by its LUN (extendedProperties.diskExclusionProperties.diskLunList).")
}
