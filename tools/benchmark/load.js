// The contest's load as a k6 script, using k6's built-in modules only. The load is described by the plan, a JSON file
// that generator.py writes and whose path is in the variable PLAN. The results are metrics, written to the plan's
// `metrics_path` at the end, and events, one JSON object per console line, read while the load runs.

import { sleep } from "k6";
import { sha256 } from "k6/crypto";
import exec from "k6/execution";
import http from "k6/http";
import { Counter } from "k6/metrics";

const plan = JSON.parse(open(__ENV.PLAN));
const { scenario } = plan;
const { load, amount, audit, stages, rules } = scenario;

const ANSWER_TIMEOUT = "1500ms"; // the contest's client gives up here
const FAILURES_TOLD_MAX = 20; // per user; further ones are only counted
const SEED_DIGITS = 12;
const OK = [200, 201, 202, 204];

const accepted = new Counter("accepted");
const acceptedCents = new Counter("accepted_cents");
const refused = new Counter("refused");
const unanswered = new Counter("unanswered");

const quantiles = ["count", "p(50)", "p(90)", "p(99)", "p(99.9)", "max"];
const tagged = (tags) => `http_req_duration{${tags}}`;
const subsets = ["payment", "summary", "admin"].map((kind) => tagged(`kind:${kind}`));
subsets.push(...stages.map((_, index) => tagged(`stage:${index}`)));

export const options = {
  discardResponseBodies: true,
  setupTimeout: "30s",
  summaryTrendStats: quantiles,
  systemTags: ["expected_response", "status", "error_code"], // each further tag costs on every request
  teardownTimeout: "30s",
  thresholds: Object.fromEntries(subsets.map((name) => [name, []])), // an empty threshold makes k6 report the subset
  userAgent: "bench",
  scenarios: Object.fromEntries([
    ["payments", {
      exec: "pay",
      executor: "ramping-vus",
      gracefulRampDown: "0s",
      stages: [{ duration: `${load.duration_s}s`, target: load.users_end }],
      startVUs: load.users_start,
    }],
    ["audits", {
      duration: `${load.duration_s}s`,
      exec: "compare",
      executor: "constant-vus",
      gracefulStop: "3s", // lets an audit under way finish, but not the sleep after it
      vus: 1,
    }],
    ...stages.map((stage, index) => [`stage_${index}`, {
      env: { STAGE: String(index) },
      exec: "change",
      executor: "per-vu-iterations",
      startTime: `${stage.at_s}s`,
    }]),
  ]),
};

const JSON_TYPE = { "Content-Type": "application/json" };
const ADMIN = {
  headers: { ...JSON_TYPE, "X-Rinha-Token": plan.token },
  responseType: "text",
  tags: { kind: "admin" },
  timeout: ANSWER_TIMEOUT,
};
const SUMMARY = { headers: JSON_TYPE, responseType: "text", tags: { kind: "summary" }, timeout: ANSWER_TIMEOUT };
const PAYMENTS = stages.map((_, index) => (
  { headers: JSON_TYPE, tags: { kind: "payment", stage: String(index) }, timeout: ANSWER_TIMEOUT }
));

let failuresTold = 0; // of this user: k6 runs this file once per user

function tell(event, members) {
  console.log(JSON.stringify({ event, at_ms: Date.now(), ...members }));
}

// The same as correlation_id and amount_cents in payments.py.
function correlationId(user, turn) {
  const digest = sha256(`${plan.run}/${user}/${turn}`, "hex");
  const variant = "89ab"[parseInt(digest[15], 16) % 4];
  return `${digest.slice(0, 8)}-${digest.slice(8, 12)}-4${digest.slice(12, 15)}`
    + `-${variant}${digest.slice(16, 19)}-${digest.slice(20, 32)}`;
}

function amountCents(user, turn) {
  const spread = amount.cents_max - amount.cents_min + 1;
  if (spread === 1) return amount.cents_min;
  const digest = sha256(`${plan.seed}/${user}/${turn}`, "hex");
  return amount.cents_min + (parseInt(digest.slice(0, SEED_DIGITS), 16) % spread);
}

function stageNow() {
  const elapsedMs = Date.now() - exec.scenario.startTime;
  let index = stages.length - 1;
  while (index > 0 && stages[index].at_s * 1000 > elapsedMs) index -= 1;
  return index;
}

// Cents of {totalRequests, totalAmount}; a JSON number of at most 2 decimals becomes whole cents exactly. Throws for
// anything else: NaN would be written as null, which makes the whole event unreadable.
function totals(part) {
  if (!Number.isInteger(part.totalRequests) || !Number.isFinite(part.totalAmount)) throw new Error("no totals");
  return { count: part.totalRequests, cents: Math.round(part.totalAmount * 100) };
}

// The totals of gateway and both processors for a window; null where there is no answer with totals.
function summaries(fromMs, toMs) {
  const window = `from=${new Date(fromMs).toISOString()}&to=${new Date(toMs).toISOString()}`;
  const [byDefault, byFallback, byGateway] = http.batch([
    ["GET", `${plan.processors[0]}/admin/payments-summary?${window}`, null, ADMIN],
    ["GET", `${plan.processors[1]}/admin/payments-summary?${window}`, null, ADMIN],
    ["GET", `${plan.target}/payments-summary?${window}`, null, SUMMARY],
  ]);
  const shown = (answer, read) => {
    try {
      return answer.status === 200 ? read(answer.json()) : null;
    } catch (_) {
      return null;
    }
  };
  return {
    from_ms: fromMs,
    to_ms: toMs,
    processors: [shown(byDefault, totals), shown(byFallback, totals)],
    gateway: shown(byGateway, (body) => [totals(body.default), totals(body.fallback)]),
  };
}

export function setup() {
  tell("started", {});
}

export function pay() {
  const user = exec.vu.idInTest;
  const turn = exec.vu.iterationInScenario;
  const cents = amountCents(user, turn);
  const body = `{"correlationId":"${correlationId(user, turn)}","amount":${JSON.stringify(cents / 100)}}`;
  const answer = http.post(`${plan.target}/payments`, body, PAYMENTS[stageNow()]);
  if (OK.includes(answer.status)) {
    accepted.add(1);
    acceptedCents.add(cents);
  } else {
    (answer.status === 0 ? unanswered : refused).add(1);
    failuresTold += 1;
    if (failuresTold <= FAILURES_TOLD_MAX) tell("failed", { user, turn, status: answer.status, error: answer.error });
  }
  sleep(load.pause_s);
}

export function compare() {
  const nowMs = Date.now();
  tell("audited", summaries(nowMs - audit.window_start_ms, nowMs - audit.window_end_ms));
  sleep(audit.every_s);
}

export function change() {
  const index = Number(__ENV.STAGE);
  const conditions = [stages[index].default, stages[index].fallback];
  const put = (side, what, value) => {
    const url = `${plan.processors[side]}/admin/configurations/${what}`;
    const answer = http.put(url, JSON.stringify({ [what]: value }), ADMIN);
    if (answer.status !== 200 && answer.status !== 204) exec.test.abort(`PUT ${url} answered ${answer.status}`);
  };
  conditions.forEach((condition, side) => put(side, "delay", condition.delay_ms));
  conditions.forEach((condition, side) => put(side, "failure", condition.failing));
  tell("changed", { stage: index });
}

// The contest takes the money here: what is not settled by now was not paid in time.
export function teardown() {
  const nowMs = Date.now();
  tell("ended", summaries(nowMs - rules.money_window_s * 1000, nowMs));
}

export function handleSummary(data) {
  return { [plan.metrics_path]: JSON.stringify(data.metrics) };
}
