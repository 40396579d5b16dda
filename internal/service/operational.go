package service

import (
	"net/url"
	"path/filepath"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
)

// operational is the site's operational repository. One in the data directory is
// made at first use.
func (s *Service) operational(site Site) holdfast.RepositoryRef {
	name := strings.ToLower(site.Name)
	place := url.URL{Scheme: "file", Path: s.defaultOperational(name)}
	if site.OperationalDir != "" {
		place.Path = site.OperationalDir
	}
	return holdfast.RepositoryRef{URL: place.String(), KeyID: "operational-" + name, Quick: true, Given: site.OperationalDir != ""}
}

// defaultOperational is where the operational repository of a site is when nobody
// says.
func (s *Service) defaultOperational(name string) string {
	return filepath.Join(s.DataDir, "operational", strings.ToLower(name))
}

// at is the operational repository that has the point.
func (s *Service) at(site Site, p RestorePoint) holdfast.RepositoryRef {
	if p.Repository != (holdfast.RepositoryRef{}) {
		return p.Repository
	}
	return s.operational(site)
}

// sealedFor is the operational repository of a site for a set: its key is the set's.
func (s *Service) sealedFor(site Site, e EncryptionSet) holdfast.RepositoryRef {
	name := strings.ToLower(site.Name) + "." + e.GUID
	place := url.URL{Scheme: "file", Path: filepath.Join(s.DataDir, "operational", name)}
	return holdfast.RepositoryRef{URL: place.String(), KeyID: "operational-" + name, Quick: true, KeyURL: keyService(e.KeyURL), Revocable: true, Twice: e.Kind == BothKeys}
}

// operationalFor is the operational repository for the points of a machine: that of
// the set which its disks name (the id of which comes with it), or the site's. A disk
// that names none is sealed with the others.
func (s *Service) operationalFor(tx *catalog.Tx, vm VM) (ref holdfast.RepositoryRef, set string, err error) {
	var first holdfast.DiskFact
	var found EncryptionSet
	for _, k := range vm.Disks {
		id := vm.EncryptionSet(k.Target)
		switch {
		case id == "" || k.Temporary:
			continue
		case set == "":
			if found, err = namedSet(tx, vm, k); err != nil {
				return ref, "", err
			}
			set, first = found.ID, k
		case !strings.EqualFold(id, set):
			return ref, "", holdfast.Errorf(holdfast.Unsupported, "properties.storageProfile", "The disks %s and %s of %q name two disk encryption sets, %s and %s; a point of the machine is sealed under one key.",
				first.Target, k.Target, vm.Name, set, id).WithHint("Name one set in all disks (az vm update, or az disk update --disk-encryption-set).")
		}
	}
	if set == "" {
		return s.operational(vm.site), "", nil
	}
	return s.sealedFor(vm.site, found), set, nil
}
