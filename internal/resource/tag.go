package resource

import (
	"strings"

	"holdfast"
)

// What a resource may be tagged with, as in Azure
// (learn.microsoft.com/azure/azure-resource-manager/management/tag-resources).
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

// CheckTags refuses tags that a resource cannot have.
func CheckTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return holdfast.Errorf(holdfast.Invalid, "tags", "There are %d tags; a resource has %d at most.", len(tags), maxTags)
	}
	for name, value := range tags {
		if name == "" || len(name) > maxTagName || strings.ContainsAny(name, `<>%&\?/`) {
			return holdfast.Errorf(holdfast.Invalid, "tags", `The tag name %q is empty, longer than %d characters or has one of < > %% & \ ? /.`, name, maxTagName)
		}
		if len(value) > maxTagValue {
			return holdfast.Errorf(holdfast.Invalid, "tags", "The value of the tag %q is longer than %d characters.", name, maxTagValue)
		}
	}
	return nil
}
