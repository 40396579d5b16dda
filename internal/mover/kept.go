package mover

import (
	"encoding/json"
	"encoding/xml"
)

// KeptSpace is the XML namespace of the element in a domain's <metadata> that
// keeps the ARM members of a VM that libvirt has no word for (design.md, Words:
// spot, host, sets, licence, plan, zone…), as one JSON object:
//
//	<holdfast:kept xmlns:holdfast="urn:holdfast:kept:1">{"zones":["1"]}</holdfast:kept>
const KeptSpace = "urn:holdfast:kept:1"

// Kept reads those members from the inner XML of a domain's <metadata>; what
// cannot be read is none.
func Kept(metadata string) map[string]any {
	var x struct {
		JSON string `xml:"urn:holdfast:kept:1 kept"`
	}
	var kept map[string]any
	if metadata == "" || xml.Unmarshal([]byte("<metadata>"+metadata+"</metadata>"), &x) != nil ||
		json.Unmarshal([]byte(x.JSON), &kept) != nil || len(kept) == 0 {
		return nil
	}
	return kept
}

// KeptElement is the element that Kept reads; "" for nothing to keep.
func KeptElement(kept map[string]any) (string, error) {
	if len(kept) == 0 {
		return "", nil
	}
	b, err := json.Marshal(kept)
	if err != nil {
		return "", err
	}
	x, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"kept"`
		JSON    string   `xml:",chardata"`
	}{JSON: string(b)})
	return string(x), err
}
