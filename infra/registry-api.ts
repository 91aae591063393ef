// The REST API in front of the registry and the control API. docker needs three things of it that only a REST API has: a 401 with WWW-Authenticate (the
// gateway renames a function's own), bodies byte for byte, and, through what stands in front (front.ts), `/v2/` at the root.
import { Duration, Fn, Names, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import {
  AccessLogFormat,
  AuthorizationType,
  EndpointType,
  IdentitySource,
  type IResource,
  LambdaIntegration,
  LogGroupLogDestination,
  type Method,
  MethodLoggingLevel,
  RequestAuthorizer,
  ResponseType,
  RestApi,
} from 'aws-cdk-lib/aws-apigateway';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { APIGATEWAY_AUTHORIZER_CHANGE_DEPLOYMENT_LOGICAL_ID } from 'aws-cdk-lib/cx-api';
import { Construct } from 'constructs';
import type { Front } from './front.ts';
import type { Program } from './functions.ts';

export interface RegistryApiProps {
  readonly registry: Program;
  readonly token: Program;
  readonly authorizer: Program;
  /** The control API. */
  readonly control: Program;
  /** What runners speak to. */
  readonly jobs: Program;
  readonly logRetention: RetentionDays;
  /** Requests a second, and how many at once above that. */
  readonly throttle: { readonly rate: number; readonly burst: number };
  /** Lets API Gateway write logs: one role for all APIs of the account in this Region. */
  readonly accountLogRole: boolean;
  /** Switches the execute-api host off: where a domain of the team's own leads here. */
  readonly hideOwnHost: boolean;
}

/**
 * What front-request.js adds, spelled as it arrives: a CloudFront Function adds headers in lower case, and CloudFront sends each word of
 * their names with a capital ("Event structure" in its guide). A REST API looks for a header by its exact spelling ("Important notes").
 */
const challengeHeader = 'Slipway-Challenge';

/** Not visible to clients: what stands in front adds it. */
export const stageName = 'live';

const reading = ['GET', 'HEAD'];
const writing = ['POST', 'PUT', 'PATCH', 'DELETE'];

export class RegistryApi extends Construct {
  readonly api: RestApi;

  constructor(scope: Construct, id: string, props: RegistryApiProps) {
    super(scope, id);
    // Else a change of the authorizer alone would come to the stage with some later one only.
    this.node.setContext(APIGATEWAY_AUTHORIZER_CHANGE_DEPLOYMENT_LOGICAL_ID, true);
    const log = new LogGroup(this, 'Log', { retention: props.logRetention, removalPolicy: RemovalPolicy.DESTROY });
    this.api = new RestApi(this, 'Api', {
      // Its metrics go by it: those of another API of this name would be in the alarms.
      restApiName: Names.uniqueResourceName(this, { maxLength: 128, separator: '-' }),
      description: 'Slipway: container registry and builds',
      endpointTypes: [EndpointType.REGIONAL],
      disableExecuteApiEndpoint: props.hideOwnHost,
      // Everything is bytes: a manifest re-encoded as text would be another manifest.
      binaryMediaTypes: ['*/*'],
      cloudWatchRole: props.accountLogRole,
      ...(props.accountLogRole ? { cloudWatchRoleRemovalPolicy: RemovalPolicy.RETAIN } : {}),
      deployOptions: {
        stageName,
        accessLogDestination: new LogGroupLogDestination(log),
        // No Authorization, no query: an upload's digest is no secret, but what else may come there is not ours to keep.
        accessLogFormat: AccessLogFormat.jsonWithStandardFields({
          caller: false,
          httpMethod: true,
          ip: true,
          protocol: true,
          requestTime: true,
          resourcePath: true,
          responseLength: true,
          status: true,
          user: false,
        }),
        loggingLevel: MethodLoggingLevel.ERROR,
        // Would write bodies and headers, tokens among them.
        dataTraceEnabled: false,
        // Those of each method, which are billed; what alarms and dashboard show is there without.
        metricsEnabled: false,
        throttlingRateLimit: props.throttle.rate,
        throttlingBurstLimit: props.throttle.burst,
      },
    });
    // Under this name the gateway writes what fails in it; made by itself, the group would keep it for ever, and outlive the stack.
    const faults = new LogGroup(this, 'Faults', {
      logGroupName: Fn.join('', ['API-Gateway-Execution-Logs_', this.api.restApiId, `/${stageName}`]),
      retention: props.logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.api.deploymentStage.node.addDependency(faults);
    // Asked each time: what a token has to cover depends on the path, and a body has to fit into the event of the function behind.
    const authorizer = new RequestAuthorizer(this, 'Callers', {
      handler: props.authorizer.function,
      identitySources: [IdentitySource.header('Authorization')],
      resultsCacheTtl: Duration.seconds(0),
    });
    const registry = new LambdaIntegration(props.registry.function, { allowTestInvoke: false });
    const v2 = this.api.root.addResource('v2');
    const v1 = this.api.root.addResource('v1');
    for (const resource of [v2, v2.addProxy({ anyMethod: false }), v1.addProxy({ anyMethod: false })]) {
      for (const method of reading) {
        resource.addMethod(method, registry, { authorizationType: AuthorizationType.CUSTOM, authorizer });
      }
    }
    const paths = v2.getResource('{proxy+}') as IResource;
    for (const method of writing) {
      paths.addMethod(method, registry, { authorizationType: AuthorizationType.CUSTOM, authorizer });
    }
    const control = new LambdaIntegration(props.control.function, { allowTestInvoke: false });
    const api = this.api.root.addResource('api');
    const about = api.addResource('v1');
    const controlled = about.addProxy({ anyMethod: false });
    for (const resource of [api.addResource('openapi.json'), about, controlled]) {
      resource.addMethod('GET', control, { authorizationType: AuthorizationType.CUSTOM, authorizer });
    }
    for (const method of ['POST', 'PUT', 'DELETE']) {
      controlled.addMethod(method, control, { authorizationType: AuthorizationType.CUSTOM, authorizer });
    }
    const jobs = new LambdaIntegration(props.jobs.function, { allowTestInvoke: false });
    const called = about.addResource('jobs').addProxy({ anyMethod: false });
    this.#open(
      called.addMethod('POST', jobs, { authorizationType: AuthorizationType.NONE }),
      'Each call shows the token of one job, which the function checks itself; the authorizer’s tokens open nothing here.',
    );
    const token = new LambdaIntegration(props.token.function, { allowTestInvoke: false });
    const tokens = this.api.root.addResource('token');
    for (const method of ['GET', 'POST']) {
      this.#open(
        tokens.addMethod(method, token, { authorizationType: AuthorizationType.NONE }),
        'Here names and passwords are exchanged for tokens; the function checks them itself.',
      );
    }
    Validations.of(this.api).acknowledge(
      {
        id: 'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]',
        reason: 'The policy that API Gateway asks for by name. `accountLogRole: false` leaves role and policy out.',
      },
      {
        id: 'AwsSolutions-COG4',
        reason: 'Registry clients speak the token protocol of the distribution project, which Cognito does not.',
      },
      {
        id: 'AwsSolutions-APIG2',
        reason:
          'Requests are those of the OCI distribution specification; the registry validates every path, header and document itself.',
      },
      {
        id: 'AwsSolutions-APIG3',
        reason: 'No web application firewall by default, because it costs more than the rest at rest. Pass `webAcl` for one.',
      },
    );
  }

  /**
   * The gateway's own answers. `url` is where clients reach the registry. `challenges`: what stands in front puts the challenge of each call
   * into a header (front-request.js); without it there is one for all, which names no scope.
   */
  addResponses({ url, host, challenges }: Pick<Front, 'url' | 'host' | 'challenges'>): void {
    const challenge = challenges ? `method.request.header.${challengeHeader}` : `'Bearer realm="${url}/token",service="${host}"'`;
    const refused = 'authentication required (docker login), or this login may not do that';
    this.#respond('Unauthorized', ResponseType.UNAUTHORIZED, 401, 'UNAUTHORIZED', refused, {
      'WWW-Authenticate': challenge,
      'Docker-Distribution-Api-Version': "'registry/2.0'",
    });
    // The authorizer denies nothing else.
    this.#respond('Denied', ResponseType.ACCESS_DENIED, 413, 'SIZE_INVALID', tooLarge);
    this.#respond('TooLarge', ResponseType.REQUEST_TOO_LARGE, 413, 'SIZE_INVALID', tooLarge);
    this.#respond('Nothing', ResponseType.MISSING_AUTHENTICATION_TOKEN, 404, 'UNSUPPORTED', 'there is nothing here');
    this.#respond('Throttled', ResponseType.THROTTLED, 429, 'TOOMANYREQUESTS', 'too many requests', { 'Retry-After': "'1'" });
    this.#respond(
      'Misfit',
      ResponseType.API_CONFIGURATION_ERROR,
      500,
      'UNKNOWN',
      `the registry could not be asked; if this was an upload: ${tooLarge}`,
    );
    // Where there is no such method, the gateway takes a token for a signature of AWS that lacks something.
    this.#respond(
      'Refused',
      ResponseType.DEFAULT_4XX,
      undefined,
      'UNSUPPORTED',
      'the gateway refused it: there is no such path or method here, or a firewall of the account does not let it pass',
    );
    this.#respond('Fault', ResponseType.DEFAULT_5XX, undefined, 'UNAVAILABLE', 'the registry cannot answer now: try again');
  }

  /** What asks for no token of ours at the door. */
  #open(method: Method, reason: string): void {
    for (const rule of ['AwsSolutions-APIG4', 'AwsSolutions-COG4']) Validations.of(method).acknowledge({ id: rule, reason });
  }

  #respond(
    id: string,
    type: ResponseType,
    status: number | undefined,
    code: string,
    message: string,
    headers: Record<string, string> = {},
  ): void {
    this.api.addGatewayResponse(id, {
      type,
      ...(status === undefined ? {} : { statusCode: String(status) }),
      responseHeaders: headers,
      templates: { 'application/json': JSON.stringify({ errors: [{ code, message }] }) },
    });
  }

  /** The host that the gateway itself answers at; the stage comes before every path there. */
  get ownHost(): string {
    const { region, urlSuffix } = Stack.of(this);
    return `${this.api.restApiId}.execute-api.${region}.${urlSuffix}`;
  }
}

// As functions/gateway.ts says it, and front-request.js: infra/ knows functions by path only, and a test compares them.
export const tooLarge =
  'more than 4.5 MB in one request do not pass the gateway: "slipway push", "slipway load" and "slipway build" send any size; other clients push in chunks of 4 MiB at most, or by an upload host (docs/account.md, Large layers)';
