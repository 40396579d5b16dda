package guest

import (
	"reflect"
	"testing"
)

func TestParseLook(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		out  string
		want Look
	}{
		{"", Look{}},
		{"python 3.11.2\npython 2.7.18\npython 3.11.2\n", Look{Python: []string{"3.11.2", "2.7.18"}}},
		{"proxy \"http://me:se@cret@proxy.example:3128\"\nproxy second\n", Look{Proxy: "http://proxy.example:3128"}},
		{"proxy me:secret@proxy:1\n", Look{Proxy: "proxy:1"}},
		{"mount ext4 /\nmount nfs4 /srv/a\\040b\nmount fuse.sshfs /mnt\nmount proc /proc\n", Look{Mounts: []string{"/srv/a b", "/mnt"}}},
		{"nonsense\npython\nproxy\nmount\n", Look{}},
	} {
		if got := parseLook([]byte(c.out)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, want %+v", c.out, got, c.want)
		}
	}
}

func FuzzLook(f *testing.F) {
	f.Add([]byte("python 3.11.2\nproxy http://a@b\nmount nfs /x\n"))
	f.Fuzz(func(t *testing.T, out []byte) { parseLook(out) })
}
