import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readMeasuredBoot } from '../../../attestation/boot/measured';
import { recordBootState } from '../../../attestation/boot/state';

/**
 * What the firmware (OVMF 2022.11), shim, GRUB 2.06 and Linux 6.1 of Debian 12 measured with Secure Boot, and what the TPM's PCRs held afterwards
 * (tpm2_pcrread): made by a guest of test/tpm-device.
 */
const LOG = readFileSync(join(__dirname, 'debian-12-secure-boot.bin'));
const ZERO = '00'.repeat(32);
const PCRS = [
  '3f615b4573ca69c414318ec2499337f73aecf29aed4d5fcade3b54d2c85f76ed',
  '046a2afe25ed2b86bcf9443a3726e3beebf23b6a4c22abacc2e7110cfa4d25de',
  '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  'f6633f76516a961e2b4578202a317ffb6284352875fed6886c295fa64a4f3c3a',
  'a5ceb755d043f32431d63e39f5161464620a3437280494b5850dc1b47cc074e0',
  '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  '75677db6f14082d3bfec4d14bdd75c8d72612ef6914ca99cd5a5997b7a21309d',
  '23f13a007e11f6777adf5725709551a7d9e4be8fb52a7df014a21fb37d18cb35',
  '28bead412be00a058769fe6dd52c1e29eae432757875c6c95c61bdf44676fe7f',
  // The kernel's IMA measured its boot_aggregate; firmware's log knows nothing of it.
  'bdf5fda8b5e2dcc90420aeed1c51e4d8a30a8feaad00691bec88f2cc0575b6ef',
  ZERO,
  ZERO,
  ZERO,
  'b9c97933fe323334271a718fdf2966e0609afcb793f3b68aaf18fc31ea39dc0a',
  ZERO,
];

test('the log of a Debian machine leads to the PCRs of its TPM, and a state of it covers kernel and command line', () => {
  const pcrs = PCRS.map((value, index) => ({ index, sha256: Buffer.from(value, 'hex') }));
  const boot = readMeasuredBoot(pcrs, LOG);
  expect(boot).toMatchObject({ contradicted: [], extendedLater: [10], unreadable: undefined });
  const state = recordBootState('debian-12', boot);
  expect(Object.keys(state.pcrs).map(Number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]);
  const told = (pcr: number): string[] => (boot.events.get(pcr) ?? []).map(({ description }) => description);
  expect(told(7)[0]).toBe('SecureBoot = 01');
  expect(told(8)).toContain('kernel command line: /boot/vmlinuz root=/dev/vdb rw console=ttyS0 panic=-1');
  expect(told(9)).toEqual(['(hd0)/EFI/debian/grub.cfg', '/boot/vmlinuz', '/boot/initrd.img']);
  expect(told(14)).toEqual(['MokList', 'MokListX', 'MokListTrusted']);
  expect(boot.events.get(8)?.every(({ measured }) => measured)).toBe(true);
});
