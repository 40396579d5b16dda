package matrix

// Rows about the shape of the machine: compute, storage, network.

var compute = []Row{
	{
		ID: "CMP-01", Subject: "VM size", Verdict: Limit, Lift: true, In: []string{"support", "service"},
		Stance: "Any size from 2 cores and 1 GB of memory.",
		Must:   "A smaller VM is refused by the verdict.",
	},
	{
		ID: "CMP-02", Subject: "availability sets", Verdict: Conditional, In: []string{"mover/restore"},
		Stance: "Backed up; quick create into one isn't offered.",
		Must:   "As MGT-05.",
	},
	{
		ID: "CMP-03", Subject: "hybrid use benefit", Verdict: Supported, In: []string{"mover/backup", "mover/restore"},
		Stance: "Supported.",
		Must:   "The licence type is kept in the point and on the restored VM.",
	},
	{
		ID: "CMP-04", Subject: "marketplace image", Verdict: Conditional, In: []string{"support", "service", "mover/restore"}, Open: "file restore",
		Stance: "Supported systems only; restored as disks; files only on a same or compatible system.",
		Must:   "For a VM with a plan creating is refused, disks are restored, and the plan is in the template.",
	},
	{
		ID: "CMP-05", Subject: "custom image", Verdict: Supported, In: []string{"support", "mover/backup"},
		Stance: "Supported systems; files only to a compatible one.",
		Must:   "Supported.",
	},
	{
		ID: "CMP-06", Subject: "migrated VM", Verdict: Conditional, In: []string{"support"},
		Stance: "The agent must be installed.",
		Must:   "The verdict says so when the agent doesn't answer; crash-consistent backup stays on offer by policy.",
	},
	{
		ID: "CMP-07", Subject: "several VMs at one instant", Verdict: NotSupported, In: []string{"api/backup"}, Open: "the lift: machines of one site that stop together, once how long each stands still can be bounded",
		Stance: "Not offered.",
		Must:   "Not promised; a request for a consistency group is refused, under extended limits too: for one moment every guest would stand still until the slowest has stopped and the last snapshot has begun, which a guest bears for seconds only (Windows goes on by itself after 10), and one that goes on too early makes the moment of all of them worthless.",
	},
	{
		ID: "CMP-08", Subject: "diagnostic settings", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported; creating a VM fails.",
		Must:   "Creating is refused for such a VM, restoring disks is offered.",
	},
	{
		ID: "CMP-09", Subject: "VM pinned to a zone", Verdict: Conditional, In: []string{"service"},
		Stance: "Restored to the same zone; fails while the zone is out.",
		Must:   "A zone is a host group: the restore goes there, and fails clearly when its hosts are down.",
	},
	{
		ID: "CMP-10", Subject: "generation 2", Verdict: Supported, In: []string{"snapshot", "mover/restore"},
		Stance: "Backed up and restored as generation 2.",
		Must:   "A UEFI domain is saved with its NVRAM, and TPM state where there is one, and boots again.",
	},
	{
		ID: "CMP-11", Subject: "VM with a lock", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "Not for unmanaged VMs; managed ones are supported.",
		Must:   "The verdict follows.",
	},
	{
		ID: "CMP-12", Subject: "spot VM", Verdict: NotSupported, In: []string{"support", "mover/restore"},
		Stance: "Not supported; comes back as a regular VM.",
		Must:   "A spot VM comes back with regular priority.",
	},
	{
		ID: "CMP-13", Subject: "dedicated host", Verdict: Conditional, In: []string{"mover/restore"},
		Stance: "Backed up; creating succeeds but not on the host, for which disks and template are used.",
		Must:   "Exactly so, in the paired region too.",
	},
	{
		ID: "CMP-14", Subject: "Storage Spaces", Verdict: Supported, In: []string{"snapshot", "mover/backup", "mover/restore"},
		Stance: "A standalone VM with Storage Spaces is supported.",
		Must:   "Backup and whole restore work for a pool over several disks. Shown with a Linux pool that is written to meanwhile; Windows itself is not tried.",
	},
	{
		ID: "CMP-15", Subject: "scale sets", Verdict: Supported, In: []string{"mover/backup", "mover/restore"},
		Stance: "Single VMs of uniform and flexible sets.",
		Must:   "One instance is backed up and restored.",
	},
}

var storage = []Row{
	{
		ID: "STO-01", Subject: "number of data disks", Verdict: Limit, In: []string{"support", "service"},
		Stance: "32, or 16 for unmanaged or classic VMs.",
		Must:   "The 33rd and the 17th are refused.",
	},
	{
		ID: "STO-02", Subject: "size of disks", Verdict: Limit, In: []string{"support", "service"},
		Stance: "32 TB a disk, 256 TB a VM.",
		Must:   "Larger is refused; a sparse disk of 32 TB costs what its data costs.",
	},
	{
		ID: "STO-03", Subject: "disk classes", Verdict: Supported, In: []string{"service"},
		Stance: "Standard HDD, standard SSD and premium SSD.",
		Must:   "The pool says the class, which is kept on restore.",
	},
	{
		ID: "STO-04", Subject: "managed disks", Verdict: Supported, In: []string{"mover/capture", "mover/backup"},
		Stance: "Supported.",
		Must:   "Supported.",
	},
	{
		ID: "STO-05", Subject: "encrypted disks", Verdict: Conditional, In: []string{"snapshot", "mover/capture", "mover/restore"},
		Stance: "Azure Disk Encryption is supported for whole VMs, also when turned on later.",
		Must:   "LUKS under libvirt secrets: QEMU decrypts, so that the point holds what the guest sees, sealed by the repository, and the passphrase; a disk comes back encrypted under the same secret, with a volume key of its own, and the whole VM boots. Turning encryption on reads the disk in full once and keeps the chain. dm-crypt in the guest passes through as ciphertext. Files are refused.",
	},
	{
		ID: "STO-06", Subject: "write accelerator", Verdict: Conditional, In: []string{"support", "service", "mover/backup"},
		Stance: "In listed regions only; elsewhere such disks are left out.",
		Must:   "A configured list says where; elsewhere the disk is left out and the job says so.",
	},
	{
		ID: "STO-07", Subject: "deduplication", Verdict: Conditional, Open: "file restore",
		Stance: "The vault doesn't deduplicate across VMs; deduplicated guest volumes give whole VMs, not files.",
		Must:   "The vault deduplicates across the VMs of one key; files of deduplicated NTFS are refused with that reason.",
	},
	{
		ID: "STO-08", Subject: "a disk is added", Verdict: Supported, In: []string{"snapshot"},
		Stance: "Supported on a protected VM.",
		Must:   "The next backup takes it: that disk in full, the others incrementally.",
	},
	{
		ID: "STO-09", Subject: "a disk is resized", Verdict: Supported, In: []string{"snapshot"},
		Stance: "Supported on a protected VM.",
		Must:   "A grown disk stays incremental and right.",
	},
	{
		ID: "STO-10", Subject: "cluster shared volumes", Verdict: NotSupported, In: []string{"support"},
		Stance: "CSV and scale-out file servers aren't supported.",
		Must:   "Verdict \"not supported\".",
	},
	{
		ID: "STO-11", Subject: "shared disks", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported.",
		Must:   "A `<shareable/>` disk isn't supported unless left out.",
	},
	{
		ID: "STO-12", Subject: "ultra disks", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported.",
		Must:   "Not supported unless left out.",
	},
	{
		ID: "STO-13", Subject: "temporary disks", Verdict: NotSupported, In: []string{"mover", "mover/backup", "mover/restore"},
		Stance: "Not backed up.",
		Must:   "A disk marked temporary is left out and comes back empty.",
	},
	{
		ID: "STO-14", Subject: "NVMe and ephemeral disks", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "Not supported.",
		Must:   "Verdict \"not supported\"; left out.",
	},
}

var network = []Row{
	{
		ID: "NET-01", Subject: "number of NICs", Verdict: Limit, In: []string{"mover/restore"},
		Stance: "Up to the size's maximum; the count at protection is restored.",
		Must:   "Exactly so, whatever is removed later.",
	},
	{
		ID: "NET-02", Subject: "load balancer", Verdict: Conditional, In: []string{"mover/restore"},
		Stance: "Supported; configured again after restore.",
		Must:   "The link is in the point and the template, and the job's follow-up list names it.",
	},
	{
		ID: "NET-03", Subject: "several reserved addresses", Verdict: Conditional, In: []string{"mover/restore"},
		Stance: "Supported.",
		Must:   "As NET-02.",
	},
	{
		ID: "NET-04", Subject: "several adapters", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "Supported.",
		Must:   "Every NIC comes back in order, on the chosen networks, with a new MAC unless disks are replaced.",
	},
	{
		ID: "NET-05", Subject: "public addresses", Verdict: Conditional, In: []string{"mover/restore"},
		Stance: "Associated after the restore.",
		Must:   "As NET-02.",
	},
	{
		ID: "NET-06", Subject: "network security group", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "Supported on NIC and subnet.",
		Must:   "The nwfilter reference is kept.",
	},
	{
		ID: "NET-07", Subject: "static address", Verdict: NotSupported, In: []string{"mover/restore"},
		Stance: "Not supported; the restored VM gets a dynamic one.",
		Must:   "The NIC is dynamic, and the job says which static address it had.",
	},
	{
		ID: "NET-08", Subject: "dynamic address", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "Comes back dynamic.",
		Must:   "Supported.",
	},
	{
		ID: "NET-09", Subject: "Traffic Manager", Verdict: Conditional, In: []string{"mover/restore"},
		Stance: "Added by hand after the restore.",
		Must:   "As NET-02.",
	},
	{
		ID: "NET-10", Subject: "Azure DNS", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "Supported.",
		Must:   "Recorded.",
	},
	{
		ID: "NET-11", Subject: "custom DNS", Verdict: Supported, In: []string{"mover/restore"},
		Stance: "Supported.",
		Must:   "Recorded, and restored with the choice of network.",
	},
	{
		ID: "NET-12", Subject: "outbound proxy", Verdict: Conditional, Lift: true, Open: "agent",
		Stance: "HTTP proxies are supported, authenticated ones not.",
		Must:   "Agent and movers honour HTTPS_PROXY; a proxy URL with credentials is refused.",
	},
	{
		ID: "NET-13", Subject: "service endpoints", Verdict: Conditional, In: []string{"server", "service"},
		Stance: "Supported when the firewall allows it.",
		Must:   "The vault has a list of allowed networks; others are refused.",
	},
}
