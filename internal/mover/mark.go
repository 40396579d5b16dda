package mover

import "encoding/xml"

// MarkSpace is the XML namespace of the element in a domain's <metadata> that
// says which restore made the domain:
//
//	<holdfast:restored xmlns:holdfast="urn:holdfast:vm:1" restore="ID" point="ID"/>
const MarkSpace = "urn:holdfast:vm:1"

// RestoreOf is the restore that made a domain, from its definition; "" if none did.
func RestoreOf(definition string) string {
	var x struct {
		Metadata struct {
			Mark struct {
				Restore string `xml:"restore,attr"`
			} `xml:"urn:holdfast:vm:1 restored"`
		} `xml:"metadata"`
	}
	if xml.Unmarshal([]byte(definition), &x) != nil {
		return ""
	}
	return x.Metadata.Mark.Restore
}
