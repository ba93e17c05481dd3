import { z } from 'zod';
import { BOOT_PCRS } from './measured';
import type { MeasuredBoot } from './measured';

const hash = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits');
const line = z.string().regex(/^[\x20-\x7e]{0,120}$/, 'expected one line of printable ASCII, 120 characters at most');

/** Kept with the values so that a machine which boots otherwise can be told by what. */
const eventSchema = z.strictObject({ pcr: z.int().min(0).max(7), type: line, sha256: hash, description: line });

/** Far more than machines measure into PCRs 0 to 7. */
const MAX_EVENTS = 1024;

export const bootStateSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/, 'expected a name of letters, digits, dots, dashes and underscores'),
  /** SHA-256 values by PCR, 0 to 7. A PCR that isn't named may have any value. */
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
export class BootStateError extends Error {
  override readonly name = 'BootStateError';

  constructor(
    readonly code: 'boot_state.malformed' | 'boot_state.contradicted' | 'boot_state.no_pcrs',
    message: string,
  ) {
    super(message);
  }
}

/**
 * Makes a golden state from a boot. Only for evidence that was verified.
 * @param pcrs which to demand later; default: 0 to 7. Some change with settings (1), attached drives (5) or updates.
 * @throws BootStateError malformed for a bad name; no_pcrs for an empty list or PCRs that aren't there; contradicted when the log tells
 *   another story of one of these PCRs: whoever approves the state would read what was never measured
 */
export function recordBootState(name: string, boot: MeasuredBoot, pcrs: readonly number[] = BOOT_PCRS): BootState {
  const wrong = pcrs.filter((pcr) => !boot.pcrs.has(pcr));
  if (pcrs.length === 0 || wrong.length > 0) {
    throw new BootStateError(
      'boot_state.no_pcrs',
      `expected PCRs of ${[...boot.pcrs.keys()].join(', ') || 'the evidence'}, got ${wrong.join(', ') || 'none'}`,
    );
  }
  if (boot.unreadable !== undefined) throw new BootStateError('boot_state.contradicted', boot.unreadable.message);
  const contradicted = pcrs.filter((pcr) => boot.contradicted.includes(pcr));
  if (contradicted.length > 0) {
    throw new BootStateError(
      'boot_state.contradicted',
      `expected an event log that leads to the quoted PCRs, got another value for ${contradicted.join(', ')}`,
    );
  }
  const wanted = BOOT_PCRS.filter((pcr) => pcrs.includes(pcr));
  const events = wanted.flatMap((pcr) => boot.events.get(pcr) ?? []).sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
  const state = {
    name,
    pcrs: Object.fromEntries(wanted.map((pcr) => [String(pcr), boot.pcrs.get(pcr)])),
    ...(boot.events.size > 0 && {
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
