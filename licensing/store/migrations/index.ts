import type { Migration } from '../migrate';
import { accounts } from './0001-accounts';
import { enrolment } from './0002-enrolment';
import { revocations } from './0003-revocations';
import { sessions } from './0004-sessions';
import { limits } from './0005-limits';
import { usernames } from './0006-usernames';
import { licences } from './0007-licences';
import { seats } from './0008-seats';
import { enclaves } from './0009-enclaves';
import { secondFactor } from './0010-second-factor';
import { oidc } from './0011-oidc';
import { transparency } from './0012-transparency';
import { refreshTokens } from './0013-refresh-tokens';
import { deletedUsers } from './0014-deleted-users';
import { seatsBySession } from './0015-seats-by-session';
import { tokenGeneration } from './0016-token-generation';
import { installation } from './0018-installation';
import { loginNonces } from './0019-login-nonces';
import { endedSeats } from './0020-ended-seats';
import { seatWatch } from './0021-seat-watch';

/**
 * The schema's steps in their order. A new one is a file NNNN-subject.ts in this folder that exports a Migration of that
 * name, and a line in this list. One statement may follow another in its `sql`, divided by semicolons. A database that has a later step gets one that
 * it lacks all the same, so none builds on what has a higher number.
 */
export const migrations: readonly Migration[] = [
  accounts,
  enrolment,
  revocations,
  sessions,
  limits,
  usernames,
  licences,
  seats,
  enclaves,
  secondFactor,
  oidc,
  transparency,
  refreshTokens,
  deletedUsers,
  seatsBySession,
  tokenGeneration,
  installation,
  loginNonces,
  endedSeats,
  seatWatch,
];
