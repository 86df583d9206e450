"""The pages of two_factor_settings.py."""

from django.http import HttpResponse
from django.urls import include, path
from two_factor.urls import urlpatterns as of_two_factor


def who(request):
    """The user, and whether by two factors."""
    return HttpResponse(f"{request.user.get_username()} {request.user.is_verified()}")


urlpatterns = [path("", include(of_two_factor)), path("who/", who)]
