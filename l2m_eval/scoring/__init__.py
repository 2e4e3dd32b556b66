"""Windows in, log-probabilities out."""

from l2m_eval.scoring.answer import choose_scorer, score_requests
from l2m_eval.scoring.scorer import ScoringRequest

__all__ = ["ScoringRequest", "choose_scorer", "score_requests"]
