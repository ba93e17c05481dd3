import { z } from 'zod';
import { MAX_LINE_LENGTH } from '../tpm/event-log/text';
import { BOOT_PCRS, FIRMWARE_PCRS, LOADER_PCRS } from './measured';
import type { MeasuredBoot } from './measured';
import { contradictionText } from './contradiction';
import { CodedError } from '../../errors/coded-error';
import type { BootStateCode } from '../../errors/verifier';

const hash = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits');
const line = z
  .string()
  .regex(/^[\x20-\x7e]*$/, 'expected one line of printable ASCII')
  .max(MAX_LINE_LENGTH);

/** Kept with the values so that a machine which boots otherwise can be told by what. */
const eventSchema = z.object({ pcr: z.int().min(0).max(15), type: line, sha256: hash, description: line });

/** Far more than machines measure before the operating system runs. */
const MAX_EVENTS = 1024;

export const bootStateSchema = z.object({
  name: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/, 'expected a name of letters, digits, dots, dashes and underscores'),
  /** SHA-256 values by PCR, 0 to 15. A PCR that isn't named may have any value; one that isn't known here is refused, not passed over. */
  pcrs: z
    .strictObject(Object.fromEntries(BOOT_PCRS.map((pcr) => [String(pcr), hash.optional()])))
    .refine((pcrs) => Object.values(pcrs).some((value) => value !== undefined), 'expected a PCR at least'),
  events: z.array(eventSchema).max(MAX_EVENTS).optional(),
});

/** A golden boot state: PCRs as they were on a machine that its operator approved. */
export type BootState = z.infer<typeof bootStateSchema>;

/** Values of a state, ascending by PCR. */
export function statePcrs(state: BootState): { pcr: number; value: string }[] {
  return BOOT_PCRS.flatMap((pcr) => {
    const value = state.pcrs[String(pcr)];
    return value === undefined ? [] : [{ pcr, value }];
  });
}

/** A boot that can't be recorded. */
export class BootStateError extends CodedError<BootStateCode> {
  override readonly name = 'BootStateError';
}

/** GRUB extends 8 and 9, systemd-stub 11 to 13, shim 14. IMA (10) and systemd (15) come later, with values that vary. */
const BEFORE_SYSTEM: readonly number[] = [8, 9, 11, 12, 13, 14];

/** What a state of this boot demands unless told otherwise: see recordBootState. A log that leaves a PCR out doesn't take it out of the state. */
export function recordedPcrs(boot: MeasuredBoot): number[] {
  const isUsed = (pcr: number): boolean =>
    boot.loaderPcrs.includes(pcr) || (BEFORE_SYSTEM.includes(pcr) && !isZero(boot.pcrs.get(pcr)));
  return [...FIRMWARE_PCRS, ...LOADER_PCRS.filter(isUsed)].filter((pcr) => boot.pcrs.has(pcr));
}

/** Whether nothing was ever measured into a PCR of this value. */
export function isZero(value = ''): boolean {
  return /^0*$/.test(value);
}

/**
 * Makes a golden state from a boot. Only for evidence that was verified.
 * @param pcrs which to demand later; default: 0 to 7, and those of 8 to 15 that something was measured into before the operating system ran: by GRUB
 *   (8, 9), systemd-stub (11 to 13), shim (14), or whatever the log has events of. Some change with settings (1), attached drives (5) or updates.
 *   A PCR that was extended after the log ended (11 by systemd-pcrphase) is recorded by its value, without events.
 * @throws BootStateError malformed for a bad name; no_pcrs for an empty list or PCRs that aren't there; contradicted when the log tells
 *   another story of one of PCRs 0 to 7: whoever approves the state would read what was never measured
 */
export function recordBootState(
  name: string,
  boot: MeasuredBoot,
  pcrs: readonly number[] = recordedPcrs(boot),
): BootState {
  const wrong = pcrs.filter((pcr) => !boot.pcrs.has(pcr));
  if (pcrs.length === 0 || wrong.length > 0) {
    throw new BootStateError(
      'boot_state.no_pcrs',
      `expected PCRs of ${[...boot.pcrs.keys()].join(', ') || 'the evidence'}, got ${wrong.join(', ') || 'none'}`,
    );
  }
  const contradicted = pcrs.filter((pcr) => boot.contradicted.includes(pcr));
  if (contradicted.length > 0)
    throw new BootStateError('boot_state.contradicted', contradictionText(boot, contradicted));
  const wanted = BOOT_PCRS.filter((pcr) => pcrs.includes(pcr));
  const events = wanted.flatMap((pcr) => boot.events.get(pcr) ?? []).sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
  const state = {
    name,
    pcrs: Object.fromEntries(wanted.map((pcr) => [String(pcr), boot.pcrs.get(pcr)])),
    ...(boot.hasLog && {
      events: events.map(({ pcr, type, sha256, description }) => ({ pcr, type, sha256, description })),
    }),
  };
  const result = bootStateSchema.safeParse(state);
  if (result.success) return result.data;
  throw new BootStateError(
    'boot_state.malformed',
    result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
  );
}
