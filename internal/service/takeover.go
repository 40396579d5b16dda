package service

import (
	"context"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// takeOver gives a new vault the items of the points that its repository had
// already: a fresh server restores from the store and the key alone. Their
// protection is stopped, so that no clean-up deletes any of them; protecting the
// VM again goes on with its history. Points that cannot be read are told of by a
// failed job.
func (s *Service) takeOver(ctx context.Context, tx *catalog.Tx, v Vault, made holdfast.ProvisionResult) error {
	if len(made.Points) == 0 && len(made.Unread) == 0 {
		return nil
	}
	site, err := siteAt(tx, v.sub(), "location", v.Location)
	if err != nil {
		return err
	}
	items := map[string]Item{} // by name: two histories of one name are one item's
	for _, p := range made.Points {
		i := itemOf(v, p, site)
		items[resource.Lower(i.ID)] = i // the newest is the last
		err := putPoint(tx, Point{Item: i.ID, Name: p.Backup.PointID, Result: p.Backup})
		if err != nil {
			return err
		}
	}
	for _, i := range items {
		if err := claimVM(tx, i); err != nil {
			return err
		}
		if err := putItem(tx, i); err != nil {
			return err
		}
	}
	if len(made.Unread) == 0 {
		return nil
	}
	unread := holdfast.Errorf(holdfast.Damaged, v.Repository.URL, "%d points of the repository cannot be read and are not listed: %s.", len(made.Unread), strings.Join(made.Unread, ", ")).
		WithHint("Look at them with holdfast repository check; what is mended is found when the vault is made anew.")
	return s.recordFailed(tx, job.Spec{Operation: "ConfigureBackup", Scope: v.ID, Subject: v.ID, Entity: v.Name, Principal: resource.Caller(ctx)}, unread)
}

// itemOf is the item of a found point, as if that were its newest.
func itemOf(v Vault, p holdfast.FoundPoint, site Site) Item {
	return Item{
		Stamp: resource.Stamp{ID: resource.ItemID(v.ID, site.Group, p.VM.Name)}, Vault: v.ID, Source: resource.InGroup(v.sub(), site.Group, resource.TypeVM, p.VM.Name), Group: site.Group,
		VM: p.VM.Name, UUID: p.VM.UUID, Site: v.Location, Series: p.Series, Held: Stopped,
		LastBackupStatus: "Completed", LastBackupTime: p.Backup.Time, LastPoint: p.Backup.Time,
	}
}
