import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createSwtpmState } from '../../launcher/swtpm';
import { systemClock } from '../../runtime/clock';

const run = promisify(execFile);

const FIRMWARE = '/usr/share/OVMF';
/** One boot with its job. Alone on a machine it takes three minutes. */
const BOOT_TIMEOUT_MS = 40 * 60_000;
/**
 * Emulated, and by QEMU's count of instructions: to the guest each takes 2 ns. So a busy machine doesn't make its programs late by its clock, and no time
 * limit in them is about this machine. Such a processor is one.
 */
const EMULATED = ['-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-icount', 'shift=1'];
/** Where the processor's virtualization has system management mode, which Secure Boot needs. scripts/tpm-device tries. */
const VIRTUALIZED = ['-accel', 'kvm', '-cpu', 'host', '-smp', '2'];

export interface Job {
  /** Words of the kernel's command line behind those that the guest needs. */
  commandLine?: string;
  /** What root runs in the guest, in sh; the shared folder is /host there. */
  script: string;
}

export interface Outcome {
  code: number;
  /** Standard output and standard error of the script. */
  log: string;
}

/**
 * A virtual machine as machines are: UEFI with Secure Boot, shim, GRUB and Linux, all signed, each measuring the next into a TPM that the kernel has as
 * /dev/tpmrm0. Its disk and its TPM stay from one boot to the next.
 */
export class Guest {
  private constructor(
    private readonly images: string,
    readonly folder: string,
  ) {}

  /** @param images that scripts/tpm-guest-image made */
  static async make(images: string): Promise<Guest> {
    const guest = new Guest(images, await mkdtemp(join(tmpdir(), 'sls-guest-')));
    await mkdir(guest.shared());
    await cp(join(__dirname, 'guest'), guest.shared('guest'), { recursive: true });
    // The maker of this TPM is swtpm_localca; its certificates are what the operator trusts.
    const certificates = await createSwtpmState(guest.path('tpm'), { caFolder: guest.path('tpm-ca') });
    await mkdir(guest.shared('ek-roots'));
    for (const [at, pem] of certificates.entries()) await writeFile(guest.shared('ek-roots', `maker-${at}.pem`), pem);
    await copyFile(`${FIRMWARE}/OVMF_VARS_4M.ms.fd`, guest.path('variables.fd'));
    await run('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-F',
      'raw',
      '-b',
      join(images, 'root.ext4'),
      guest.path('root.qcow2'),
    ]);
    return guest;
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** In the folder that the guest has at /host. */
  shared(...parts: string[]): string {
    return this.path('shared', ...parts);
  }

  /** Boots, runs the job, powers off. @throws Error with the end of the console when the guest doesn't get that far */
  async boot({ commandLine = '', script }: Job): Promise<Outcome> {
    await this.makeBootDisk(commandLine);
    await writeFile(this.shared('job'), script);
    for (const name of ['job.rc', 'job.log']) await rm(this.shared(name), { force: true });
    const tpm = await this.startTpm();
    try {
      await this.untilOff(startChild('qemu-system-x86_64', this.arguments()));
    } finally {
      tpm.kill('SIGKILL');
    }
    if (!existsSync(this.shared('job.rc')))
      throw new Error(
        `expected the guest to run its job, got\n${(await readFile(this.path('console'), 'latin1')).slice(-3000)}`,
      );
    const log = await readFile(this.shared('job.log'), 'utf8');
    return { code: Number(await readFile(this.shared('job.rc'), 'utf8')), log };
  }

  /** As the firmware's settings would: which banks of PCRs the TPM has from the next boot on. */
  async allocatePcrs(banks: string): Promise<void> {
    await run('swtpm_setup', ['--tpm2', '--tpmstate', this.path('tpm'), '--reconfigure', '--pcr-banks', banks]);
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** A FAT disk with shim, Debian's GRUB and its configuration, where Debian's GRUB looks for it. */
  private async makeBootDisk(commandLine: string): Promise<void> {
    const kernel = `root=/dev/vdb rw console=ttyS0 panic=-1 ${commandLine}`.trim();
    const configuration = [
      'search --no-floppy --label --set=root root',
      `linux /boot/vmlinuz ${kernel}`,
      'initrd /boot/initrd.img',
      'boot',
    ];
    await writeFile(this.path('grub.cfg'), configuration.map((line) => `${line}\n`).join(''));
    const disk = this.path('efi.img');
    await rm(disk, { force: true });
    await run('truncate', ['-s', '64M', disk]);
    await run('mkfs.vfat', ['-n', 'EFI', disk]);
    await run('mmd', ['-i', disk, '::/EFI', '::/EFI/BOOT', '::/EFI/debian']);
    const copies = [
      [join(this.images, 'efi/BOOTX64.EFI'), '::/EFI/BOOT/BOOTX64.EFI'],
      [join(this.images, 'efi/grubx64.efi'), '::/EFI/BOOT/grubx64.efi'],
      [this.path('grub.cfg'), '::/EFI/debian/grub.cfg'],
    ] as const;
    for (const [from, to] of copies) await run('mcopy', ['-i', disk, from, to]);
  }

  /** A TPM whose power QEMU switches. It ends with QEMU's connection. */
  private async startTpm(): Promise<ChildProcess> {
    const socket = this.path('tpm.sock');
    await rm(socket, { force: true });
    const state = ['--tpmstate', `dir=${this.path('tpm')}`];
    const tpm = startChild('swtpm', [
      'socket',
      '--tpm2',
      ...state,
      '--ctrl',
      `type=unixio,path=${socket}`,
      '--terminate',
    ]);
    while (!existsSync(socket)) {
      if (tpm.exitCode !== null)
        throw new Error(`expected swtpm to serve ${socket}, but it ended with ${tpm.exitCode}`);
      await systemClock.sleep(20);
    }
    return tpm;
  }

  private arguments(): string[] {
    const disk = (file: string, format: string): string[] => ['-drive', `file=${file},format=${format},if=virtio`];
    return [
      ...['-machine', 'q35,smm=on', '-m', '2048', '-display', 'none', '-nodefaults', '-no-reboot'],
      ...(process.env['SLS_GUEST_KVM'] === '1' ? VIRTUALIZED : EMULATED),
      ...['-global', 'driver=cfi.pflash01,property=secure,value=on'],
      ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${FIRMWARE}/OVMF_CODE_4M.secboot.fd`],
      ...['-drive', `if=pflash,format=raw,unit=1,file=${this.path('variables.fd')}`],
      ...disk(this.path('efi.img'), 'raw'),
      ...disk(this.path('root.qcow2'), 'qcow2'),
      ...['-drive', `file=${join(this.images, 'app.ext4')},format=raw,if=virtio,readonly=on`],
      ...['-virtfs', `local,path=${this.shared()},mount_tag=host,security_model=none`],
      ...['-chardev', `socket,id=tpm,path=${this.path('tpm.sock')}`],
      ...['-tpmdev', 'emulator,id=tpm,chardev=tpm', '-device', 'tpm-crb,tpmdev=tpm'],
      ...['-serial', 'stdio', '-device', 'virtio-rng-pci'],
    ];
  }

  private async untilOff(machine: ChildProcess): Promise<void> {
    const console = createWriteStream(this.path('console'));
    machine.stdout?.pipe(console, { end: false });
    machine.stderr?.pipe(console, { end: false });
    const timer = setTimeout(() => machine.kill('SIGKILL'), BOOT_TIMEOUT_MS);
    try {
      await once(machine, 'close');
    } finally {
      clearTimeout(timer);
      console.end();
    }
  }
}

/** A child that ends with this process, even by SIGKILL. */
function startChild(program: string, args: string[]): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}
