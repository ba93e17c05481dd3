import { systemClock } from '../../runtime/clock';
import { listLicences, refresh } from '../index';
import type { OwnLicence, OwnLicenceState, SessionLicence } from '../index';
import { callOptions } from './call-options';
import { EXIT } from './exit';
import { toCliError } from './failure';
import { ownAccessToken } from './own-tokens';
import { retryAfterRaces } from './race';
import { describeState } from './licence-report';
import { loadSession, saveTokens } from './session-file';
import type { SavedSession } from './session-file';
import { keepIfWritable } from './state';
import { isFresh } from './token-file';

/** What has become of a saved session and of its licence since they were saved. */
interface Standing {
  session: 'good' | 'ended' | 'unknown';
  /** Why it isn't good, in words. */
  reason?: string | undefined;
  licence?: StandingLicence | undefined;
}

interface StandingLicence {
  /** Id (UUID). */
  licence: string;
  plan: string;
  until: Date;
  graceUntil: Date;
  /** `dropped`: the account holds it no more. */
  state: OwnLicenceState | 'dropped';
}

/**
 * Asks the services about the saved session: what its file says is how it was.
 * @param offline don't ask: what time alone tells
 */
export async function standingOf(saved: SavedSession, { offline }: { offline: boolean }): Promise<Standing> {
  const licence = saved.session.licence && byTime(saved.session.licence);
  const { refreshToken, refreshTokenExpiresAt = 0, accessTokenExpiresAt } = saved.session;
  if (offline)
    return refreshToken !== undefined && !isFresh(Math.max(refreshTokenExpiresAt, accessTokenExpiresAt))
      ? { session: 'ended', reason: 'the session has ended', licence }
      : { session: 'unknown', reason: 'not asked', licence };
  try {
    const { licences } = await listLicences(saved.trust, await accessTokenOf(), callOptions());
    return { session: 'good', licence: held(licences, saved.session.licence) };
  } catch (error) {
    const { message, exitCode } = toCliError(error);
    return { session: exitCode === EXIT.authentication ? 'ended' : 'unknown', reason: message, licence };
  }
}

/** Of the session of this command's enclave, renewed where it is over. */
function accessTokenOf(): Promise<string> {
  return retryAfterRaces(async () => {
    const saved = await loadSession();
    const { trust, session, username } = saved;
    const { accessToken, accessTokenExpiresAt, refreshToken, enclave } = session;
    if (refreshToken === undefined) return ownAccessToken(trust, username);
    if (isFresh(accessTokenExpiresAt)) return accessToken;
    const renewed = await refresh(trust, refreshToken, { ...callOptions(), user: enclave.user });
    await keepIfWritable(() => saveTokens(saved, renewed));
    return renewed.accessToken;
  });
}

/** The one that logins go by now, or what became of the one that the last login went by. */
function held(licences: OwnLicence[], last: SessionLicence | undefined): StandingLicence | undefined {
  const now = licences.find(({ applies }) => applies) ?? licences.find(({ licence }) => licence === last?.licence);
  if (now) {
    const { licence, plan, until, graceUntil, state } = now;
    return { licence, plan: plan.name, until, graceUntil, state };
  }
  return last && { ...byTime(last), state: 'dropped' };
}

function byTime({ licence, plan, ...ends }: SessionLicence): StandingLicence {
  const [until, graceUntil] = [ends.until, ends.graceUntil].map((seconds) => new Date(seconds * 1000)) as [Date, Date];
  const now = systemClock.now();
  const state = now < until.getTime() ? 'valid' : now < graceUntil.getTime() ? 'grace' : 'expired';
  return { licence, plan, until, graceUntil, state };
}

/** For people and programs. */
export function describeStanding({ session, reason, licence }: Standing): {
  json: object;
  session: string;
  licence: string | undefined;
} {
  const json = {
    session,
    ...(reason !== undefined && { reason }),
    licence: licence && {
      ...licence,
      until: licence.until.toISOString(),
      graceUntil: licence.graceUntil.toISOString(),
    },
  };
  const why = reason === undefined ? '' : `: ${reason}`;
  return {
    json,
    session: session === 'good' ? 'good' : `${session === 'ended' ? 'ENDED' : 'not known'}${why}`,
    licence: licence && `${licence.plan}, ${describe(licence)}`,
  };
}

function describe({ state, until, graceUntil }: StandingLicence): string {
  return state === 'dropped' ? 'GIVEN BACK' : describeState(state, until, graceUntil);
}
