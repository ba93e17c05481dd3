/** What tells a workload credential from every other token. */
export const WORKLOAD_TOKEN = { typ: 'sls-workload+jwt', issuer: 'launcher', audience: 'attestor' } as const;
