// Ten situations that the dashboards are drawn in: hosts, and what happens to the bots on them.
// Times are hours before the end. `files` is how many accumulated files there are at a time; a
// clean-up of the remediator takes away what it may, and the growth goes on from there.

const steady = (begin, perHour = 0) => (hour) => begin + perHour * hour;
/** Grows by `perHour` in the last `hours` only. */
const lately = (begin, perHour, hours) => (hour, all) => begin + perHour * Math.max(0, hour - (all - hours));
const bot = (name, files, more = {}) => ({ name, files, connection: 'connected', ...more });
const host = (name, bots, more = {}) => ({ name, bots, remediator: true, logs: true, ...more });

const five = () => [bot('acme-sales', steady(52)), bot('acme-support', steady(61, 0.2)), bot('beta-orders', steady(44)), bot('delta-bookings', steady(70, 0.3)), bot('harbor-desk', steady(58))];
const onePerTier = () => [
  bot('in-normal', steady(60)),
  bot('in-monitor', steady(104)),
  bot('in-warning', lately(124, 6, 1.5)),
  bot('in-cleanup', lately(140, 5, 3.5)),
  bot('in-emergency', lately(150, 9, 4)),
  bot('in-fatal', lately(160, 30, 2)),
];

/** Many hosts with a dozen bots each: most are well, and a few are in the state of the name. */
function many() {
  const hosts = Array.from({ length: 40 }, (_, nth) =>
    host(`wa-${String(nth + 1).padStart(2, '0')}.example.org`, Array.from({ length: nth < 20 ? 13 : 12 }, (_, n) => bot(`company_${100000 + nth * 137 + n * 11}`, steady(35 + ((nth * 7 + n * 13) % 55), (n % 4) / 10))), { logs: false, remediator: nth === 3 || nth === 11 }),
  );
  const change = (at, n, files, more = {}) => Object.assign(hosts[at].bots[n], { files, ...more });
  change(3, 2, lately(128, 17, 2.5));
  change(3, 5, steady(134, 2));
  change(11, 1, lately(150, 12, 2));
  change(17, 4, lately(110, 15, 1.5));
  change(22, 3, steady(155));
  change(29, 7, steady(141, 1));
  change(30, 0, steady(66), { connection: 'disconnected' });
  return hosts;
}

export const SITUATIONS = {
  healthy: { hours: 4, hosts: () => [host('wa-1.example.org', five())] },
  tiers: { hours: 4, hosts: () => [host('wa-1.example.org', onePerTier())], session: 'in-emergency' },
  many: { hours: 3, hosts: many },
  'exporter-down': { hours: 4, hosts: () => [host('wa-1.example.org', five()), host('wa-2.example.org', onePerTier(), { downFor: 0.7 })], session: 'in-emergency' },
  'no-remediator': { hours: 4, hosts: () => [host('wa-1.example.org', onePerTier(), { remediator: false })], session: 'in-cleanup' },
  'no-logs': { hours: 4, hosts: () => [host('wa-1.example.org', [...five(), bot('gamma-news', lately(128, 4, 3))], { logs: false })], session: 'gamma-news' },
  vanished: { hours: 4, hosts: () => [host('wa-1.example.org', [...five(), bot('old-campaign', steady(131, 1), { goneFor: 1 })])], session: 'old-campaign' },
  removed: { hours: 4, hosts: () => [host('wa-1.example.org', [...five(), bot('zeta-otp', lately(120, 25, 3), { removedFor: 0.4 })])], session: 'zeta-otp' },
  clash: { hours: 4, hosts: () => [host('wa-1.example.org', [bot('support', steady(58))]), host('wa-2.example.org', [bot('support', lately(130, 8, 3), {})])], session: 'support' },
  fresh: { hours: 0.2, hosts: () => [host('wa-1.example.org', [...five(), bot('in-warning', steady(124))])], session: 'in-warning' },
};
