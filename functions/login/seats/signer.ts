import type { Signer } from '../../../licensing/authority/authority';
import { issueSeatSigner } from '../../../licensing/authority/seat-signer';
import type { SeatSigner } from '../../../licensing/authority/seat-signer';
import { dateOf, isYounger, systemClock } from '../../../runtime/clock';
import type { Clock } from '../../../runtime/clock';

const LIFE_SECONDS = 24 * 3600;
/** Renewed when half of its life is over: what it signs lives minutes. */
const RENEW_MS = (LIFE_SECONDS / 2) * 1000;

/**
 * The key that signs this replica's seat tokens. It exists in memory only; its certificate is by the client CA that signs now, which enclaves believe
 * already, so it needs no way of its own to them and is rotated along with that.
 */
export function seatSigner(
  authority: () => Promise<Signer>,
  trustDomain: string,
  clock: Clock = systemClock,
): () => Promise<SeatSigner> {
  let made: { by: Signer; at: number; signer: Promise<SeatSigner> } | undefined;
  return async () => {
    const by = await authority();
    const now = dateOf(clock);
    if (made?.by !== by || !isYounger(clock, made.at, RENEW_MS)) {
      const signer = issueSeatSigner(by, { trustDomain, seconds: LIFE_SECONDS, now });
      made = { by, at: now.getTime(), signer };
    }
    return made.signer;
  };
}
