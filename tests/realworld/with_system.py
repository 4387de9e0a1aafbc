"""Namespaces, bind mounts, keys and other things of the system."""

from __future__ import annotations

from tests.realworld.scenario import Run, Skip, same, scenario


def _unshare(run: Run) -> list[str]:
    command = ["unshare", "-m", "--propagation", "private"]
    try:
        run(*command, "true")
    except AssertionError as error:
        raise Skip(f"leave to make mount namespaces ({error})") from None
    return command


@scenario("unshare mount bash", root=True)
def mount_namespaces(run: Run) -> None:
    """unshare -m: a bind mount of a directory here, written through both names; read-only; a file bound over another"""
    inside = r"""
    mkdir -p real bound ro; echo a > real/f; mount --bind real bound; echo b >> bound/f; sed -i s/a/A/ bound/f; test "$(cat real/f)" = "$(printf 'A\nb')"; echo new > bound/g; mv bound/g bound/h; test -e real/h; mkdir bound/d; rmdir real/d
    mount --bind real ro; mount -o remount,bind,ro ro; if (echo x > ro/f) 2>/dev/null; then exit 1; fi; test "$(head -1 ro/f)" = A; echo one > one; echo two > two; mount --bind one two; test "$(cat two)" = one; echo three >> two; test $(wc -l < one) = 2; echo four > two; test "$(cat two)" = four
    umount two ro bound; test "$(cat one)" = four; test -z "$(ls bound)"
    """
    run(*_unshare(run), "bash", "-ec", inside)
    same(run.read("real/f"), "A\nb\n", "file after the namespace")


@scenario("unshare mount chroot bash", root=True)
def chroot_here(run: Run) -> None:
    """a chroot into a directory here with /usr bound into it; programs write, two at once, pid namespace as well"""
    inside = r"""
    mkdir -p root/usr root/work root/tmp root/dev root/etc; for d in bin lib lib64 sbin; do if [ -L /$d ]; then ln -s usr/$d root/$d; elif [ -d /$d ]; then mkdir -p root/$d; mount --bind /$d root/$d; fi; done; mount --bind /usr root/usr; mount --bind /dev root/dev
    for n in 1 2; do chroot root bash -ec "for i in 1 2 3 4 5 6; do echo $n \$i >> /work/all.txt; echo $n > /work/own$n; sort -r /work/all.txt > /work/sorted$n; done" & done; wait
    test $(wc -l < root/work/all.txt) = 12; chroot root tar -C /work -cf /tmp/w.tar .; umount root/usr root/dev; for d in bin lib lib64 sbin; do if mountpoint -q root/$d; then umount root/$d; fi; done
    """
    run(*_unshare(run), "bash", "-ec", inside)
    same(len(set(run.read("root/work/all.txt").splitlines())), 12, "lines")
    run(
        *_unshare(run),
        "--fork",
        "--pid",
        "bash",
        "-ec",
        'echo in a pid namespace > p; echo more >> p; sed -i s/more/MORE/ p; test "$(tail -1 p)" = MORE; (echo c > q); test $(cat q) = c',
    )


@scenario("unshare bash")
def user_namespace(run: Run) -> None:
    """unshare -r: in a user namespace, as root of it: write, replace, append, chmod"""
    try:
        run("unshare", "-r", "true")
    except AssertionError as error:
        raise Skip(f"leave to make user namespaces ({error})") from None
    run(
        "unshare",
        "-r",
        "bash",
        "-ec",
        "test $(id -u) = 0; echo a > f; echo b >> f; sed -i s/a/A/ f; chmod 600 f; test $(stat -c %a%u f) = 6000; mkdir d; mv f d/g; tar cf t.tar d; tar xf t.tar; cmp d/g d/g",
    )
    same(run.read("d/g"), "A\nb\n", "file")


@scenario("mount bash", root=True)
def overlay_and_loop(run: Run) -> None:
    """an ext4 image made here, mounted by loop, filled, unmounted, checked by fsck (where loop devices are)"""
    try:
        run.sh("truncate -s 16M image; mkfs.ext4 -qF image; mkdir m")
        run("unshare", "-m", "mount", "-o", "loop", "image", "m")
    except AssertionError as error:
        raise Skip(f"loop devices ({error})") from None
    run(
        "unshare",
        "-m",
        "bash",
        "-ec",
        "mount -o loop image m; for i in $(seq 100); do seq 1000 > m/$i; done; sync; (cd m; sha256sum [0-9]* > SUMS); umount m; e2fsck -fn image >/dev/null 2>&1; mount -o loop,ro image m; cd m; sha256sum -c --status SUMS; cd ..; umount m",
    )
    run.sh(
        "debugfs -R 'ls -p' image 2>/dev/null | grep -c / > n; test $(cat n) -ge 100; resize2fs image 12M > out 2>&1 || true; e2fsck -fy image > out 2>&1 || test $? = 1; cp --sparse=always image image2; cmp image image2"
    )


@scenario("gpg gpg-agent", limit_s=240)
def gpg_keyring(run: Run) -> None:
    """gpg with its home here: make two keys, sign, encrypt, export, import into another, delete; sockets too"""
    if len(str(run.dir)) > 60:
        raise Skip("a shorter path: gpg-agent's sockets")
    run.sh(
        r"""mkdir -m 700 g h; for n in a b; do gpg --homedir g --batch -q --passphrase '' --quick-gen-key $n@x default default never 2>> log; done
        test $(gpg --homedir g -k --with-colons 2>/dev/null | grep -c ^pub) = 2; echo text > f; gpg --homedir g --batch -q --yes -o f.gpg -r a@x --trust-model always -e f; gpg --homedir g --batch -q --yes -o f.out -d f.gpg 2>/dev/null; cmp f f.out
        gpg --homedir g --batch -q --yes -u b@x --detach-sign f; gpg --homedir g --verify f.sig f 2>/dev/null; gpg --homedir g --export > pub; gpg --homedir h --batch -q --import pub 2>/dev/null; gpg --homedir h --verify f.sig f 2>/dev/null
        k=$(gpg --homedir h -k --with-colons 2>/dev/null | sed -n 's/^fpr:*\([0-9A-F]*\):/\1/p' | head -1); gpg --homedir h --batch -q --yes --delete-key $k; test $(gpg --homedir h -k --with-colons 2>/dev/null | grep -c ^pub) = 1
        for d in g h; do gpgconf --homedir $d --kill all || true; done"""
    )


@scenario("ssh-keygen")
def ssh_keys(run: Run) -> None:
    """ssh-keygen: new keys, known_hosts hashed, looked up and removed, a certificate, a signature"""
    run.sh(
        r"""ssh-keygen -q -t ed25519 -N '' -f k; test $(stat -c %a k) = 600; ssh-keygen -q -p -N pass -P '' -f k > out; ssh-keygen -q -p -N '' -P pass -f k > out; test "$(ssh-keygen -y -f k | cut -d' ' -f2)" = "$(cut -d' ' -f2 k.pub)"
        for h in one two three; do echo "$h $(cut -d' ' -f1,2 k.pub)" >> known; done; ssh-keygen -qH -f known > out 2>&1; ssh-keygen -F two -f known > out; ssh-keygen -qR two -f known > out 2>&1; if ssh-keygen -F two -f known > out; then exit 1; fi; test $(wc -l < known) = 2; test -e known.old
        ssh-keygen -q -t ed25519 -N '' -f ca; ssh-keygen -q -s ca -I me -n user k.pub; ssh-keygen -L -f k-cert.pub > out; echo data > d; ssh-keygen -q -Y sign -n file -f k d 2>out; ssh-keygen -q -Y check-novalidate -n file -s d.sig < d > out"""
    )


@scenario("openssl")
def openssl_ca(run: Run) -> None:
    """openssl: a small certificate authority with its index and serial files"""
    run.sh(
        r"""openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 9 2>/dev/null; mkdir new; : > index.txt; echo 01 > serial
        printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=new\ncertificate=ca.pem\nprivate_key=ca.key\ndefault_md=sha256\npolicy=p\ndefault_days=5\nunique_subject=no\n[p]\ncommonName=supplied\n' > c.cnf
        for n in 1 2 3; do openssl req -newkey rsa:2048 -nodes -keyout $n.key -out $n.csr -subj /CN=n$n 2>/dev/null; openssl ca -batch -config c.cnf -in $n.csr -out $n.pem 2>/dev/null; openssl verify -CAfile ca.pem $n.pem >/dev/null; done
        openssl ca -config c.cnf -revoke 2.pem 2>/dev/null; test $(wc -l < index.txt) = 3; grep -c ^R index.txt | grep -x 1 >/dev/null; test $(cat serial) = 04"""
    )


@scenario("strace", limit_s=120)
def writers_of_traces(run: Run) -> None:
    """strace -ff -o, and core-dump-like writers: many files by one tracer, readable afterwards"""
    try:
        run("strace", "-o", "/dev/null", "true")
    except AssertionError as error:
        raise Skip(f"leave to trace ({error})") from None
    run.sh(
        "strace -ff -o tr sh -c 'for i in 1 2 3 4 5; do /bin/true; done'; test $(ls tr.* | wc -l) -ge 5; cat tr.* | grep -c execve > n; test $(cat n) -ge 5"
    )
