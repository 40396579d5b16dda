package matrix

// Rows about the matrix of VM restore points.

var restorePoints = []Row{
	{
		ID: "RPT-01", Subject: "managed disks", Verdict: Supported, In: []string{"support", "service"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "RPT-02", Subject: "unmanaged disks", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported.",
		Must:   "Refused.",
	},
	{
		ID: "RPT-03", Subject: "ultra disks", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "In application-consistent points only; left out of crash-consistent ones.",
		Must:   "Exactly so.",
	},
	{
		ID: "RPT-04", Subject: "premium SSD v2", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "In application-consistent points only; left out of crash-consistent ones.",
		Must:   "Exactly so.",
	},
	{
		ID: "RPT-05", Subject: "ephemeral OS disk", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported; leave it out.",
		Must:   "Refused unless it is in excludeDisks.",
	},
	{
		ID: "RPT-06", Subject: "shared disks", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported; leave them out.",
		Must:   "As RPT-05.",
	},
	{
		ID: "RPT-07", Subject: "extensions", Verdict: Supported, In: []string{"service", "api/compute"},
		Stance: "Supported.",
		Must:   "Kept in the point's VM metadata.",
	},
	{
		ID: "RPT-08", Subject: "trusted launch", Verdict: Supported, In: []string{"mover/capture", "mover/restore"},
		Stance: "Supported.",
		Must:   "Secure boot, NVRAM and TPM state are kept and restored.",
	},
	{
		ID: "RPT-09", Subject: "confidential VM", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported.",
		Must:   "A domain with launchSecurity is refused.",
	},
	{
		ID: "RPT-10", Subject: "generation 2", Verdict: Supported, In: []string{"mover/capture", "mover/restore"},
		Stance: "Supported.",
		Must:   "As CMP-10.",
	},
	{
		ID: "RPT-11", Subject: "NVMe sizes", Verdict: Supported, In: []string{"support", "service"},
		Stance: "Storage-optimised sizes are supported.",
		Must:   "The VM is taken; data on its local NVMe isn't in the point.",
	},
	{
		ID: "RPT-12", Subject: "proximity placement group", Verdict: Supported, In: []string{"support", "service"},
		Stance: "Supported.",
		Must:   "Kept.",
	},
	{
		ID: "RPT-13", Subject: "availability set", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "One VM at a time.",
		Must:   "Points are per VM; there is none for the set.",
	},
	{
		ID: "RPT-14", Subject: "uniform scale set", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported.",
		Must:   "Refused.",
	},
	{
		ID: "RPT-15", Subject: "flexible scale set", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "One VM at a time.",
		Must:   "Points are per VM.",
	},
	{
		ID: "RPT-16", Subject: "spot VM", Verdict: Supported, In: []string{"support", "service"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "RPT-17", Subject: "dedicated host", Verdict: Supported, In: []string{"support", "service"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "RPT-18", Subject: "host caching", Verdict: Supported, In: []string{"snapshot", "api/compute"},
		Stance: "Supported.",
		Must:   "The cache mode is kept, and data is flushed before the point.",
	},
	{
		ID: "RPT-19", Subject: "marketplace image", Verdict: Supported, In: []string{"service", "api/compute"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "RPT-20", Subject: "custom image", Verdict: Supported, In: []string{"service", "api/compute"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "RPT-21", Subject: "hybrid use benefit", Verdict: Supported, In: []string{"service", "api/compute"},
		Stance: "Supported.",
		Must:   "Kept.",
	},
	{
		ID: "RPT-22", Subject: "migrated VM", Verdict: Supported, In: []string{"service", "api/compute"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "RPT-23", Subject: "role-based access", Verdict: Supported, In: []string{"authz", "server"},
		Stance: "Supported.",
		Must:   "Roles are checked on every operation.",
	},
	{
		ID: "RPT-24", Subject: "temporary disk", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "The point is made, without the temporary disk's data.",
		Must:   "Exactly so.",
	},
	{
		ID: "RPT-25", Subject: "disk classes", Verdict: Supported, In: []string{"support", "service"},
		Stance: "Standard HDD, standard SSD, premium SSD and zone-redundant disks.",
		Must:   "Each class is taken and kept.",
	},
	{
		ID: "RPT-26", Subject: "SSE with platform keys", Verdict: Supported, In: []string{"service", "api/compute"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "RPT-27", Subject: "SSE with customer keys", Verdict: Supported, In: []string{"service", "mover"},
		Stance: "Supported.",
		Must:   "The points of a VM whose disks name a disk encryption set are in a repository of their own, whose key is wrapped by the set's key in its key service. The service is asked at each use: a key that is taken away makes the points unreadable at once. A copy at another site is under that site's key.",
	},
	{
		ID: "RPT-28", Subject: "double encryption at rest", Verdict: Supported, In: []string{"service", "mover", "objstore/encrypt"},
		Stance: "Supported.",
		Must:   "Two layers under two keys: the repository's AES-256-GCM, whose key the customer's wraps, and every object once more in AES-256-CTR under a key file of the server. Each key alone opens nothing.",
	},
	{
		ID: "RPT-29", Subject: "encryption at the host", Verdict: Supported, In: []string{"api/compute", "service", "mover/restore"},
		Stance: "Supported with platform keys, customer keys and both.",
		Must:   "That a VM has it, and which disk encryption set its disks name, is kept in the point and on a VM made of it. (libvirt has no such encryption; LUKS under its secrets is STO-05.)",
	},
	{
		ID: "RPT-30", Subject: "Azure Disk Encryption", Verdict: Supported, In: []string{"snapshot", "mover/capture", "mover/restore", "api/compute"},
		Stance: "Supported.",
		Must:   "Disks under libvirt secrets (LUKS): the secrets are kept, sealed, with the point, which lists them by UUID and gives nobody their values; a restore defines them again where they are missing.",
	},
	{
		ID: "RPT-31", Subject: "accelerated networking", Verdict: Supported, In: []string{"service", "api/compute"},
		Stance: "Supported.",
		Must:   "Kept.",
	},
	{
		ID: "RPT-32", Subject: "application-consistent spacing", Verdict: Limit, Lift: true, In: []string{"support", "service"},
		Stance: "At most every three hours.",
		Must:   "Sooner fails with the ARM error; three hours later it works.",
	},
	{
		ID: "RPT-33", Subject: "crash-consistent spacing", Verdict: Limit, Lift: true, In: []string{"support", "service"},
		Stance: "At most every hour.",
		Must:   "As RPT-32, with one hour.",
	},
	{
		ID: "RPT-34", Subject: "API for application consistency", Verdict: Limit, In: []string{"support", "service"},
		Stance: "API version 2021-03-01 or later.",
		Must:   "An older one is refused.",
	},
	{
		ID: "RPT-35", Subject: "API for crash consistency", Verdict: Limit, In: []string{"support", "service"},
		Stance: "API version 2021-07-01 or later.",
		Must:   "CrashConsistent with an older one is refused.",
	},
}

var restorePointSystems = []Row{
	{
		ID: "RPO-01", Subject: "Windows", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "Application consistency for the backup list and Server 2022, 64 bits only.",
		Must:   "The verdict follows.",
	},
	{
		ID: "RPO-02", Subject: "Linux", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "Application consistency for endorsed distributions, and others with agent and Python; not CoreOS or 32 bits; NFS isn't covered.",
		Must:   "The verdict follows.",
	},
	{
		ID: "RPO-03", Subject: "crash consistency", Verdict: Supported, In: []string{"support", "service"},
		Stance: "Every operating system.",
		Must:   "No check of the OS: works without an agent and with a system nobody knows.",
	},
}

var restorePointLimits = []Row{
	{
		ID: "RPL-01", Subject: "kinds of disk", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Managed disks only; ultra, ephemeral OS and shared disks not.",
		Must:   "As RPT-02 to RPT-06; where list and matrix differ on ultra, the matrix row holds.",
	},
	{
		ID: "RPL-02", Subject: "points per VM", Verdict: Limit, In: []string{"support", "service"},
		Stance: "At most 500, over all collections.",
		Must:   "The 501st is refused.",
	},
	{
		ID: "RPL-03", Subject: "two at once", Verdict: NotSupported, In: []string{"service", "job"},
		Stance: "No concurrent creation for one VM.",
		Must:   "The second creation at the same time gets 409.",
	},
	{
		ID: "RPL-04", Subject: "move a VM that has points", Verdict: NotSupported, In: []string{"service"},
		Stance: "Not between resource groups or subscriptions; a move breaks the reference to the source.",
		Must:   "Refused while points exist, and the error names them.",
	},
	{
		ID: "RPL-05", Subject: "copies across regions", Verdict: Conditional, In: []string{"service", "api/compute"},
		Stance: "Without private links; customer keys become platform keys; no portal.",
		Must:   "A copy by source id goes incrementally to another site's collection; private links are refused and keys become the platform's.",
	},
}
