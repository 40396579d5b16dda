package matrix

// Rows about retention and every way back.

var retention = []Row{
	{
		ID: "FRQ-01", Subject: "points per instance", Verdict: Limit, In: []string{"service", "policy"},
		Stance: "At most 9,999 recovery points per protected instance.",
		Must:   "The limit is enforced; listing, pruning and restoring stay fast at 9,999.",
	},
	{
		ID: "FRQ-02", Subject: "longest retention", Verdict: Limit, In: []string{"policy", "service"},
		Stance: "A point expires after 99 years at most.",
		Must:   "99 years are taken, 100 refused; the dates are right across leap years.",
	},
	{
		ID: "FRQ-03", Subject: "VM to vault", Verdict: Limit, Lift: true, In: []string{"policy", "service"},
		Stance: "A VM goes to the vault once a day.",
		Must:   "As ACT-07.",
	},
	{
		ID: "FRQ-04", Subject: "agent to vault", Verdict: Limit, Lift: true, Open: "agent",
		Stance: "The agent goes to the vault three times a day.",
		Must:   "As ACT-08.",
	},
	{
		ID: "FRQ-05", Subject: "server to its disks", Verdict: Limit, Lift: true, Open: "backup server",
		Stance: "Every 15 minutes for SQL, hourly for other sources.",
		Must:   "Database logs every 15 minutes and other sources every hour to the server's disk tier; faster is refused.",
	},
	{
		ID: "FRQ-06", Subject: "retention tags", Verdict: Supported, In: []string{"policy", "service"},
		Stance: "Retention is daily, weekly, monthly and yearly.",
		Must:   "All four on one policy; a point stays while any of them holds it.",
	},
	{
		ID: "FRQ-07", Subject: "retention and frequency", Verdict: Limit, In: []string{"policy"},
		Stance: "The longest retention follows from the frequency.",
		Must:   "A policy's points are counted over its tags; more than 9,999 are refused, and the error says how many.",
	},
	{
		ID: "FRQ-08", Subject: "server's disk and tape", Verdict: Limit, Open: "backup server",
		Stance: "64 points on disk for file servers and 448 for application servers; tape has no limit.",
		Must:   "Both limits hold on the disk tier; an archive export, to a file or device and append-only, has none.",
	},
}

var restoreMethods = []Row{
	{
		ID: "RST-01", Subject: "create a VM", Verdict: Supported, In: []string{"service", "mover/restore"},
		Stance: "A new VM from a point: name, resource group, network and staging account are chosen, the region is the same.",
		Must:   "A new running domain with the chosen name, network and pool; another region is refused.",
	},
	{
		ID: "RST-02", Subject: "restore disks", Verdict: Supported, In: []string{"service", "mover/restore"},
		Stance: "Disks come back to a resource group with a template that makes a VM, or are attached to one.",
		Must:   "Disks are written as volumes, with an ARM template and the domain XML; the template deploys with parameters, and a disk can be attached to a running VM.",
	},
	{
		ID: "RST-03", Subject: "replace disks", Verdict: Conditional, In: []string{"service", "mover/restore"},
		Stance: "The VM must exist; its disks are saved first and kept; for unencrypted managed VMs and custom images, not for generalized, classic or unmanaged ones.",
		Must:   "Each clause is shown on a real VM; a failure midway leaves the original bootable.",
	},
	{
		ID: "RST-04", Subject: "restore in the paired region", Verdict: Conditional, Open: "cross-region",
		Stance: "In the paired region a VM or disks can be made, disks not replaced; backup and application administrators may.",
		Must:   "A second site restores from replicated points while the first is off; replacing is refused and roles are checked.",
	},
}

var fileRestore = []Row{
	{
		ID: "FLR-01", Subject: "files on a compatible machine", Verdict: Supported, Open: "file restore",
		Stance: "Files come back on any machine with the same or a compatible OS.",
		Must:   "A generated script with a one-time password mounts the point on another machine; CLI and portal also browse it directly.",
	},
	{
		ID: "FLR-02", Subject: "files of encrypted VMs", Verdict: NotSupported, Open: "file restore",
		Stance: "Files of encrypted VMs can't be restored one by one.",
		Must:   "Refused with that reason.",
	},
	{
		ID: "FLR-03", Subject: "files behind network limits", Verdict: NotSupported, Open: "file restore",
		Stance: "Not from storage with restricted networks.",
		Must:   "Refused when the caller is outside the vault's networks.",
	},
	{
		ID: "FLR-04", Subject: "files on Storage Spaces", Verdict: NotSupported, Open: "file restore",
		Stance: "Not on the same VM; on a compatible one.",
		Must:   "Detected; mounting on the source VM is refused with that reason and allowed elsewhere.",
	},
	{
		ID: "FLR-05", Subject: "files on LVM or RAID", Verdict: NotSupported, Open: "file restore",
		Stance: "Not on the same VM; on a compatible one.",
		Must:   "As FLR-04, for duplicate volume groups and arrays; linear volumes can also be browsed directly.",
	},
	{
		ID: "FLR-06", Subject: "files with special networks", Verdict: NotSupported, Open: "file restore",
		Stance: "Not on the same VM.",
		Must:   "As FLR-04.",
	},
	{
		ID: "FLR-07", Subject: "files on special disks", Verdict: NotSupported, Open: "file restore",
		Stance: "Shared, temporary, deduplicated, ultra and write-accelerated disks give no files.",
		Must:   "Those disks aren't offered, each with its reason.",
	},
}

var management = []Row{
	{
		ID: "MGT-01", Subject: "restore elsewhere", Verdict: NotSupported, Lift: true, In: []string{"service"},
		Stance: "No restore across subscription, region or zone.",
		Must:   "Refused, apart from RST-04. Extended limits lift the zone: a site has the host that its VMs are on, whatever the zone.",
	},
	{
		ID: "MGT-02", Subject: "restore over a VM", Verdict: NotSupported, In: []string{"service"},
		Stance: "An existing VM isn't restored over; its disks are replaced.",
		Must:   "Creating a VM under a name that exists is refused, and the error points to replacing disks.",
	},
	{
		ID: "MGT-03", Subject: "staging with SSE", Verdict: NotSupported, Lift: true, In: []string{"service"},
		Stance: "No restore to a storage account with service-side encryption.",
		Must:   "A staging place marked so is refused.",
	},
	{
		ID: "MGT-04", Subject: "mixed storage", Verdict: NotSupported, Lift: true, In: []string{"service"},
		Stance: "Restored disks are all premium or all standard.",
		Must:   "One class for all disks of a restore; a mix is refused.",
	},
	{
		ID: "MGT-05", Subject: "into an availability set", Verdict: Conditional, In: []string{"service", "mover/restore"},
		Stance: "By restored disks and a template, not by quick create.",
		Must:   "Quick create into a set is refused with that advice; the template has the parameter and works.",
	},
	{
		ID: "MGT-06", Subject: "unmanaged, then managed", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "A backup of an unmanaged VM is restorable after its upgrade to managed disks.",
		Must:   "Works.",
	},
	{
		ID: "MGT-07", Subject: "point from before the migration", Verdict: Supported, In: []string{"service", "mover/restore", "mover/machine"},
		Stance: "Restores as unmanaged by default and can be converted.",
		Must:   "Restores outside the pool; converting moves it in, and the template deploys.",
	},
	{
		ID: "MGT-08", Subject: "deleted VM", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "A VM that was deleted can be restored.",
		Must:   "Domain and disks are deleted, restored and booted.",
	},
	{
		ID: "MGT-09", Subject: "domain controller", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "Can be restored.",
		Must:   "The restored domain gets a new generation id, by which the guest notices.",
	},
	{
		ID: "MGT-10", Subject: "another network", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "Restores to another network of the same subscription and region.",
		Must:   "Works; a network of another region is refused.",
	},
}
