"""Windows in, log-probabilities out."""

from l2m_eval.scoring.base import ScoringRequest, choose_scorer, score_requests

__all__ = ["ScoringRequest", "choose_scorer", "score_requests"]
