package matrix

// Rows about what is backed up, by which actions, on which systems.

var scenarios = []Row{
	{
		ID: "SCN-01", Subject: "whole VM", Verdict: Supported, In: []string{"mover/backup", "mover/restore"}, Open: "issue 8, file restore",
		Stance: "The whole VM is backed up without an agent of its own; it comes back as a new VM, as disks, as replaced disks of an unencrypted managed VM, or as files.",
		Must:   "Backs the whole VM up through libvirt and the guest agent that is there; each of the four ways back is shown on a real VM.",
	},
	{
		ID: "SCN-02", Subject: "files of a machine", Verdict: Supported, Open: "agent",
		Stance: "A Windows machine's files, folders and volumes go to the vault through the MARS agent, beside the VM backup.",
		Must:   "`holdfast agent`, for Windows and Linux, sends files, folders and volumes to the same vault and brings them back.",
	},
	{
		ID: "SCN-03", Subject: "through a backup server", Verdict: Supported, Open: "backup server",
		Stance: "A backup server (DPM/MABS) takes files, volumes, system state, bare metal and application data, and passes them on to the vault.",
		Must:   "The backup-server role keeps its own disk tier and sends on to the vault; every kind of source is restorable.",
	},
}

var actions = []Row{
	{
		ID: "ACT-01", Subject: "VM that is off", Verdict: Conditional, In: []string{"snapshot", "mover/backup"},
		Stance: "A VM that is shut down is backed up, crash-consistent only.",
		Must:   "The point of a shut-off domain says CrashConsistent; when more was asked for, the job warns.",
	},
	{
		ID: "ACT-02", Subject: "disks moved to managed", Verdict: Supported, In: []string{"mover/capture", "service"},
		Stance: "Backup goes on after a VM's disks become managed disks.",
		Must:   "Moving a disk file into a registered pool keeps protection, policy and history, and the next backup works.",
	},
	{
		ID: "ACT-03", Subject: "resource group lock", Verdict: NotSupported, In: []string{"service"},
		Stance: "A lock on the restore points' group keeps old points from being deleted, and backups fail once the limit is reached.",
		Must:   "Under a delete lock pruning is refused and recorded, backup fails at the limit with an error that names the lock, and removing the lock heals it.",
	},
	{
		ID: "ACT-04", Subject: "policy is changed", Verdict: Behaviour, In: []string{"service", "policy"},
		Stance: "The next run follows the new policy; longer retention re-marks the points that exist, shorter prunes them at the next clean-up.",
		Must:   "Exactly that, shown on a chain of points with an injected clock.",
	},
	{
		ID: "ACT-05", Subject: "cancel a backup", Verdict: Conditional, Lift: true, In: []string{"job"},
		Stance: "A backup job can be cancelled while it takes the snapshot, not while it transfers to the vault.",
		Must:   "Cancel in the snapshot phase stops the job and leaves nothing; in the transfer phase it is refused.",
	},
	{
		ID: "ACT-06", Subject: "other region or subscription", Verdict: NotSupported, Lift: true, In: []string{"service"},
		Stance: "A VM is backed up only to a vault of its own region and subscription.",
		Must:   "Protection is refused when VM and vault differ in region or subscription. Extended limits lift the region: the VM is read at its site and its points come back at the vault's; a server has one subscription, so that there is no other.",
	},
	{
		ID: "ACT-07", Subject: "VM backups a day", Verdict: Limit, Lift: true, In: []string{"service", "policy"},
		Stance: "One scheduled backup a day, and up to three on demand.",
		Must:   "A policy with more is refused, and so is the fourth on-demand backup of a day.",
	},
	{
		ID: "ACT-08", Subject: "agent backups a day", Verdict: Limit, Lift: true, Open: "agent",
		Stance: "The MARS agent runs up to three schedules a day.",
		Must:   "An agent schedule of up to three a day is taken, a fourth is refused.",
	},
	{
		ID: "ACT-09", Subject: "server backups a day", Verdict: Limit, Lift: true, Open: "backup server",
		Stance: "A backup server sends to the vault up to twice a day.",
		Must:   "Two a day are taken, a third is refused.",
	},
	{
		ID: "ACT-10", Subject: "monthly and yearly schedules", Verdict: NotSupported, In: []string{"policy"},
		Stance: "VM backups are scheduled daily or weekly only; monthly and yearly are retentions of those.",
		Must:   "Other schedule kinds are refused; monthly and yearly retention works in absolute and relative form.",
	},
	{
		ID: "ACT-11", Subject: "daylight saving", Verdict: NotSupported, Lift: true, In: []string{"policy", "service"},
		Stance: "Schedules don't follow daylight saving; the policy is changed by hand.",
		Must:   "Runs stay at their fixed offset across the change; under extended limits a policy can follow the wall clock.",
	},
	{
		ID: "ACT-12", Subject: "turn hybrid security off", Verdict: NotSupported, Open: "backup server",
		Stance: "Security features of hybrid backup can't be disabled.",
		Must:   "Soft delete and the security PIN of agent and server items can't be turned off; the call is refused.",
	},
	{
		ID: "ACT-13", Subject: "guest clock in the future", Verdict: NotSupported, In: []string{"mover/backup", "service"},
		Stance: "A VM whose clock was moved to the future isn't supported, even when it is moved back.",
		Must:   "Points are ordered by the server's clock; a guest clock far from it is a job warning and never decides retention.",
	},
}

var windows = []Row{
	{
		ID: "WIN-01", Subject: "Windows 10", Verdict: Supported, In: []string{"support"},
		Stance: "The 64-bit client is supported.",
		Must:   "Verdict \"supported\" from what the guest agent says of the OS.",
	},
	{
		ID: "WIN-02", Subject: "Windows Server 2019", Verdict: Supported, In: []string{"support"},
		Stance: "Datacenter, Core and Standard are supported.",
		Must:   "Verdict \"supported\".",
	},
	{
		ID: "WIN-03", Subject: "Windows Server 2016", Verdict: Supported, In: []string{"support"},
		Stance: "Datacenter, Core and Standard are supported.",
		Must:   "Verdict \"supported\".",
	},
	{
		ID: "WIN-04", Subject: "Windows Server 2012 R2", Verdict: Supported, In: []string{"support"},
		Stance: "Datacenter and Standard are supported.",
		Must:   "Verdict \"supported\".",
	},
	{
		ID: "WIN-05", Subject: "Windows Server 2012", Verdict: Supported, In: []string{"support"},
		Stance: "Datacenter and Standard are supported.",
		Must:   "Verdict \"supported\".",
	},
	{
		ID: "WIN-06", Subject: "Windows Server 2008 R2", Verdict: Supported, In: []string{"support"},
		Stance: "RTM and SP1 Standard are supported.",
		Must:   "Verdict \"supported\".",
	},
	{
		ID: "WIN-07", Subject: "Windows Server 2008", Verdict: Conditional, In: []string{"support"},
		Stance: "Supported in 64 bits only.",
		Must:   "Verdict \"supported\" for 64 bits, \"not supported\" for 32.",
	},
	{
		ID: "WIN-08", Subject: "agent and server OS lists", Verdict: Behaviour, Open: "agent",
		Stance: "MARS and DPM/MABS keep OS lists of their own.",
		Must:   "Agent and server state their lists and check them when a machine registers.",
	},
	{
		ID: "WIN-09", Subject: "32-bit systems", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "32-bit operating systems aren't supported.",
		Must:   "Verdict \"not supported\", for Windows and for Linux.",
	},
}

var linux = []Row{
	{
		ID: "LNX-01", Subject: "Linux consistency", Verdict: Supported, In: []string{"snapshot", "guest"}, Open: "file restore",
		Stance: "A Linux VM with the agent is file-consistent, and application-consistent with scripts of its own; every restore is offered.",
		Must:   "fsfreeze proves FileSystemConsistent; pre and post scripts with time limits prove ApplicationConsistent; every restore is shown on a real guest.",
	},
	{
		ID: "LNX-02", Subject: "Linux with the agent", Verdict: NotSupported, Lift: true, Open: "agent",
		Stance: "The MARS agent is for Windows only.",
		Must:   "Holdfast's agent runs on Linux too; default limits refuse to register one as a MARS container.",
	},
	{
		ID: "LNX-03", Subject: "Linux with a backup server", Verdict: NotSupported, Lift: true, Open: "backup server",
		Stance: "DPM/MABS protects no Linux machine.",
		Must:   "As LNX-02, for the backup server.",
	},
	{
		ID: "LNX-04", Subject: "leave guest paths out", Verdict: NotSupported, In: []string{"api/backup", "service"},
		Stance: "Mount points of Docker can't be left out of a VM backup.",
		Must:   "Every attached disk is taken as it is; leaving out guest paths is refused, leaving out a LUN works.",
	},
}

var linuxSystems = []Row{
	{
		ID: "LOS-01", Subject: "endorsed distributions", Verdict: Supported, In: []string{"support"},
		Stance: "The distributions that Azure endorses are supported.",
		Must:   "One data file lists distributions and versions; the verdict follows it.",
	},
	{
		ID: "LOS-02", Subject: "CoreOS", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "CoreOS isn't supported.",
		Must:   "Verdict \"not supported\".",
	},
	{
		ID: "LOS-03", Subject: "32-bit Linux", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "32-bit Linux isn't supported.",
		Must:   "Verdict \"not supported\".",
	},
	{
		ID: "LOS-04", Subject: "other distributions", Verdict: Conditional, In: []string{"support", "service"},
		Stance: "Others are supported where the agent runs and Python is there.",
		Must:   "\"Supported, with a note\" when the agent answers and finds Python, otherwise \"not supported\" and why.",
	},
	{
		ID: "LOS-05", Subject: "proxy without Python 2.7", Verdict: NotSupported, In: []string{"support", "service"},
		Stance: "A Linux VM behind a proxy needs Python 2.7.",
		Must:   "The verdict reads the proxy setting and the Python version in the guest.",
	},
	{
		ID: "LOS-06", Subject: "network file systems", Verdict: NotSupported, In: []string{"support", "mover/backup"},
		Stance: "NFS mounts in the guest aren't backed up, only locally attached disks.",
		Must:   "Network mounts found in the guest are listed in the job as not covered; their data isn't in the point.",
	},
}
