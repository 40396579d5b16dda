package matrix

// Rows about encryption and compression.

var security = []Row{
	{
		ID: "SEC-01", Subject: "encryption in transit", Verdict: Supported, In: []string{"transit", "embedded", "client", "objstore"},
		Stance: "Traffic is encrypted with AES-256.",
		Must:   "TLS 1.2 or later with AES-256 suites between all parts.",
	},
	{
		ID: "SEC-02", Subject: "HTTPS", Verdict: Supported, In: []string{"embedded"},
		Stance: "Backup data travels over HTTPS.",
		Must:   "There is no plaintext listener beyond loopback.",
	},
	{
		ID: "SEC-03", Subject: "encryption at rest", Verdict: Supported, In: []string{"repository"},
		Stance: "Vault data is encrypted at rest.",
		Must:   "AES-256-GCM for data and manifests; a scan of the store finds no plaintext.",
	},
	{
		ID: "SEC-04", Subject: "keys", Verdict: Behaviour, In: []string{"keyring", "mover", "service"},
		Stance: "Only the customer holds the key; a lost key is a lost backup.",
		Must:   "A passphrase is stored nowhere, and a vault's key in a key service stays there; without it nothing restores from the vault, with it a fresh server restores from the store alone. (A key that the server makes itself is a file of its user; so is that of a site's operational repository.)",
	},
	{
		ID: "SEC-05", Subject: "encryption inside the VM", Verdict: Behaviour, In: []string{"e2e"},
		Stance: "It is set up inside the VM.",
		Must:   "What the guest encrypts passes through untouched.",
	},
	{
		ID: "SEC-06", Subject: "BitLocker and dm-crypt", Verdict: Supported, In: []string{"snapshot", "mover/capture", "mover/restore"},
		Stance: "Azure Disk Encryption is supported.",
		Must:   "As STO-05: the secrets that libvirt opens disks with are backed up and restored; keys that the guest itself has (LUKS headers, BitLocker, a TPM's state) are on its disks and in its TPM, which are.",
	},
	{
		ID: "SEC-07", Subject: "encryption by the store", Verdict: Supported, In: []string{"objstore/s3"},
		Stance: "The back end is encrypted by its storage service.",
		Must:   "A bucket with server-side encryption works too.",
	},
	{
		ID: "SEC-08", Subject: "by kind of machine", Verdict: Behaviour, Open: "backup server",
		Stance: "In transit and at rest, for all four kinds of machine.",
		Must:   "One test each: agent, VM, VM through a server, machine through a server.",
	},
}

var compression = []Row{
	{
		ID: "ZIP-01", Subject: "agent", Verdict: Supported, Open: "agent",
		Stance: "The agent compresses what it sends to the vault.",
		Must:   "The agent compresses before it sends; bytes on the wire are measured.",
	},
	{
		ID: "ZIP-02", Subject: "VM", Verdict: NotSupported, In: []string{"repository"},
		Stance: "A VM is read from storage, so nothing is compressed.",
		Must:   "A VM's data is compressed in the vault all the same.",
	},
	{
		ID: "ZIP-03", Subject: "backup server", Verdict: Supported, Open: "backup server",
		Stance: "Compressed to the server and to the vault.",
		Must:   "Both ways are compressed; the first can be switched off.",
	},
}
