package mover

import (
	"encoding/xml"
	"maps"
	"slices"
)

// TagsSpace is the XML namespace of the element in a domain's <metadata> that
// keeps the VM's tags:
//
//	<holdfast:tags xmlns:holdfast="urn:holdfast:tags:1"><tag name="k">v</tag></holdfast:tags>
//
// libvirt keeps one element of each namespace, so it is apart from the one that
// says which restore made the domain.
const (
	TagsSpace  = "urn:holdfast:tags:1"
	TagsPrefix = "holdfast"
)

type tagXML struct {
	Name  string `xml:"name,attr"`
	Value string `xml:",chardata"`
}

// Tags reads the tags from the inner XML of a domain's <metadata>; what cannot
// be read is none.
func Tags(metadata string) map[string]string {
	var x struct {
		Tags struct {
			Tag []tagXML `xml:"tag"`
		} `xml:"urn:holdfast:tags:1 tags"`
	}
	if metadata == "" || xml.Unmarshal([]byte("<metadata>"+metadata+"</metadata>"), &x) != nil || len(x.Tags.Tag) == 0 {
		return nil
	}
	tags := map[string]string{}
	for _, t := range x.Tags.Tag {
		tags[t.Name] = t.Value
	}
	return tags
}

// TagsElement is the element that Tags reads; "" for no tags.
func TagsElement(tags map[string]string) (string, error) {
	if len(tags) == 0 {
		return "", nil
	}
	x := struct {
		XMLName xml.Name `xml:"tags"`
		Tag     []tagXML `xml:"tag"`
	}{}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		x.Tag = append(x.Tag, tagXML{name, tags[name]})
	}
	b, err := xml.Marshal(x)
	return string(b), err
}
