import { z } from 'zod';
import { accountSettings } from '../../core/accounts/backend';
import { listenSettings } from '../../core/config/listen';

export const signupSettings = z.object({ ...listenSettings, ...accountSettings });
