// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Upgrade plans that a fixed set of members votes on.
/// @notice Carries only what must be on chain: the height at which the new rules start and the SHA-256
/// of the release manifest. The manifest itself is off chain and signed by the maintainers; an approved
/// plan says that the network wants it, never which bytes may run.
///
/// Rules
/// - Proposing counts as the proposer's vote.
/// - A plan is approved with the `threshold`-th vote and then takes no more votes.
/// - A plan whose height is reached before it is approved can never be approved: nobody could be ready.
/// - While a plan is voted on, its proposer alone can cancel it. In every other case `threshold` members
///   have to ask for it, one call each; requests made before the approval keep counting after it.
contract UpgradeRegistry {
    enum State {
        None,
        Voting,
        Approved,
        Cancelled
    }

    struct Plan {
        address proposer;
        uint64 height;
        State state;
        uint32 votes;
        uint32 cancelVotes;
        bytes32 manifestHash;
        string name;
        string uri;
    }

    /// @notice Longest plan name in bytes.
    uint256 public constant MAX_NAME = 128;
    /// @notice Longest manifest URI in bytes.
    uint256 public constant MAX_URI = 2048;
    /// @notice Most members a registry can have.
    uint256 public constant MAX_MEMBERS = 1024;

    /// @notice Votes that approve a plan, and requests that cancel an approved one.
    uint256 public immutable threshold;

    address[] private _members;
    bytes32[] private _planIds;
    mapping(address => bool) public isMember;
    mapping(bytes32 => Plan) private _plans;
    mapping(bytes32 => mapping(address => bool)) public hasVoted;
    mapping(bytes32 => mapping(address => bool)) public hasAskedToCancel;

    event PlanProposed(bytes32 indexed planId, string name, uint64 height, bytes32 manifestHash, string uri);
    event PlanVoted(bytes32 indexed planId, address indexed voter, uint256 votes, uint256 required);
    event PlanApproved(bytes32 indexed planId);
    event PlanCancelled(bytes32 indexed planId);

    error BadMemberCount(uint256 members);
    error BadThreshold(uint256 threshold, uint256 members);
    error BadMember(address member);
    error NotMember(address caller);
    error BadNameLength(uint256 length);
    error UriTooLong(uint256 length);
    error NoManifestHash();
    error HeightNotAhead(uint64 height, uint256 current);
    error NoSuchPlan(bytes32 planId);
    error NotVoting(bytes32 planId, State state);
    error AlreadyVoted(bytes32 planId, address voter);
    error AlreadyCancelled(bytes32 planId);
    error AlreadyAskedToCancel(bytes32 planId, address caller);

    modifier onlyMember() {
        if (!isMember[msg.sender]) revert NotMember(msg.sender);
        _;
    }

    constructor(address[] memory members_, uint256 threshold_) {
        if (members_.length == 0 || members_.length > MAX_MEMBERS) revert BadMemberCount(members_.length);
        if (threshold_ == 0 || threshold_ > members_.length) revert BadThreshold(threshold_, members_.length);
        for (uint256 i = 0; i < members_.length; i++) {
            address member = members_[i];
            if (member == address(0) || isMember[member]) revert BadMember(member);
            isMember[member] = true;
        }
        _members = members_;
        threshold = threshold_;
    }

    /// @notice Proposes a plan and votes for it.
    /// @param name What people call it.
    /// @param height First block of the new rules; must be ahead.
    /// @param manifestHash SHA-256 of the manifest's bytes.
    /// @param uri Where the manifest can be fetched; may be empty.
    /// @return planId keccak256 over chain id, contract, running number and all fields.
    function propose(string calldata name, uint64 height, bytes32 manifestHash, string calldata uri)
        external
        onlyMember
        returns (bytes32 planId)
    {
        if (bytes(name).length == 0 || bytes(name).length > MAX_NAME) revert BadNameLength(bytes(name).length);
        if (bytes(uri).length > MAX_URI) revert UriTooLong(bytes(uri).length);
        if (manifestHash == bytes32(0)) revert NoManifestHash();
        if (height <= block.number) revert HeightNotAhead(height, block.number);

        planId = keccak256(
            abi.encode(block.chainid, address(this), _planIds.length, msg.sender, name, height, manifestHash, uri)
        );
        _planIds.push(planId);
        Plan storage plan_ = _plans[planId];
        plan_.proposer = msg.sender;
        plan_.height = height;
        plan_.state = State.Voting;
        plan_.manifestHash = manifestHash;
        plan_.name = name;
        plan_.uri = uri;
        emit PlanProposed(planId, name, height, manifestHash, uri);
        _vote(planId, plan_);
    }

    /// @notice Votes for a plan; once for each member.
    function vote(bytes32 planId) external onlyMember {
        Plan storage plan_ = _known(planId);
        if (plan_.state != State.Voting) revert NotVoting(planId, plan_.state);
        if (hasVoted[planId][msg.sender]) revert AlreadyVoted(planId, msg.sender);
        if (plan_.height <= block.number) revert HeightNotAhead(plan_.height, block.number);
        _vote(planId, plan_);
    }

    /// @notice Cancels a plan, or asks for it: see the rules above.
    function cancel(bytes32 planId) external onlyMember {
        Plan storage plan_ = _known(planId);
        if (plan_.state == State.Cancelled) revert AlreadyCancelled(planId);
        if (plan_.state == State.Voting && plan_.proposer == msg.sender) {
            plan_.state = State.Cancelled;
            emit PlanCancelled(planId);
            return;
        }
        if (hasAskedToCancel[planId][msg.sender]) revert AlreadyAskedToCancel(planId, msg.sender);
        hasAskedToCancel[planId][msg.sender] = true;
        plan_.cancelVotes += 1;
        if (plan_.cancelVotes >= threshold) {
            plan_.state = State.Cancelled;
            emit PlanCancelled(planId);
        }
    }

    /// @notice Everything the chain knows of a plan.
    function plan(bytes32 planId) external view returns (Plan memory) {
        return _known(planId);
    }

    /// @notice How many plans were ever proposed.
    function planCount() external view returns (uint256) {
        return _planIds.length;
    }

    /// @notice The plan with the given running number, counted from 0.
    function planAt(uint256 index) external view returns (bytes32) {
        return _planIds[index];
    }

    /// @notice The members, in the order of the constructor.
    function members() external view returns (address[] memory) {
        return _members;
    }

    function _known(bytes32 planId) private view returns (Plan storage plan_) {
        plan_ = _plans[planId];
        if (plan_.state == State.None) revert NoSuchPlan(planId);
    }

    function _vote(bytes32 planId, Plan storage plan_) private {
        hasVoted[planId][msg.sender] = true;
        plan_.votes += 1;
        emit PlanVoted(planId, msg.sender, plan_.votes, threshold);
        if (plan_.votes >= threshold) {
            plan_.state = State.Approved;
            emit PlanApproved(planId);
        }
    }
}
