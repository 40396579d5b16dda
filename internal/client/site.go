package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"holdfast"
)

// Site is a libvirt host that is registered under a name; the name is the ARM
// location of what is on it.
type Site struct {
	Raw        json.RawMessage
	ID, Name   string
	Properties SiteProperties
}

// SiteProperties are the members of a site. Those from Host on are answered
// live, and by a show only.
type SiteProperties struct {
	URI           string `json:"uri,omitempty"`
	ResourceGroup string `json:"resourceGroup,omitempty"`
	ScratchDir    string `json:"scratchDir,omitempty"`
	ScratchLimit  int64  `json:"scratchLimit,omitempty"` // of one backup, bytes; 0 is none
	ReadRate      int64  `json:"readRate,omitempty"`     // of one backup, bytes per second; 0 is no limit
	CollectRate   int64  `json:"collectRate,omitempty"`  // of freeing storage, bytes per second; 0 is the server's choice
	MaxBackups    int    `json:"maxBackups,omitempty"`   // scheduled backups at once; 0 is the server's choice

	PoolClasses      map[string]string `json:"poolClasses,omitempty"`      // disk class of each pool, such as Premium_LRS
	WriteAccelerator bool              `json:"writeAccelerator,omitempty"` // write accelerated disks are backed up
	EncryptedPools   []string          `json:"encryptedPools,omitempty"`   // pools that encrypt what they hold

	OperationalDir string       `json:"operationalDir,omitempty"` // of the restore points; "" is the server's choice
	Operational    *Operational `json:"operational,omitempty"`    // answered by a show

	Host           string              `json:"host,omitempty"`
	LibvirtVersion string              `json:"libvirtVersion,omitempty"`
	QEMUVersion    string              `json:"qemuVersion,omitempty"`
	Pools          []holdfast.PoolFact `json:"pools,omitempty"`
	Networks       []string            `json:"networks,omitempty"`
	Unreachable    string              `json:"unreachable,omitempty"` // why the others are missing
}

// Operational is how a site's operational repository is.
type Operational struct {
	Examined   time.Time        `json:"examined,omitzero"`    // when all of it was last read; zero is never
	Unreadable int              `json:"unreadable,omitempty"` // restore points
	SetAside   []holdfast.Aside `json:"setAside,omitempty"`   // former ones that could not be used any more
}

func decodeSite(raw json.RawMessage) (Site, error) {
	s := Site{Raw: raw}
	err := json.Unmarshal(raw, &s)
	return s, err
}

// siteURL is where a site is, or with no name the list of them.
func (c *Client) siteURL(name string) string {
	id := "/subscriptions/" + c.config.Subscription + "/providers/Holdfast.Site/sites"
	if name != "" {
		id += "/" + name
	}
	return c.url(id, siteVersion)
}

// RegisterSite registers or changes a site. The server asks its libvirt first
// and refuses one that does not answer.
func (c *Client) RegisterSite(ctx context.Context, name string, p SiteProperties) (Site, error) {
	body := map[string]any{"properties": p}
	return get(ctx, c, decodeSite, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodPut, c.siteURL(name), body, http.StatusOK, http.StatusCreated)
		return err
	})
}

// Site shows one site, with what is there now.
func (c *Client) Site(ctx context.Context, name string) (Site, error) {
	return get(ctx, c, decodeSite, func(ctx context.Context) error {
		_, err := c.send(ctx, http.MethodGet, c.siteURL(name), nil, http.StatusOK)
		return err
	})
}

// Sites lists all sites.
func (c *Client) Sites(ctx context.Context) ([]Site, error) {
	return listFrom(ctx, c, decodeSite, c.siteURL(""))
}

// RemoveSite forgets a site. Its VMs and their disks are not touched.
func (c *Client) RemoveSite(ctx context.Context, name string) error {
	_, err := c.send(ctx, http.MethodDelete, c.siteURL(name), nil, http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	return err
}
